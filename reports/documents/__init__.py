"""The JSON documents: their types, reading, checking, writing whole."""
