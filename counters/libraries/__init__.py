"""One file per counter library; none of them imports the engine."""
