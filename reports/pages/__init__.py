"""What a person reads, drawn from a document: terminal, Markdown, HTML, charts."""
