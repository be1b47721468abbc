"""ptflops, two backends: how it is called (`count`), and what each release of it charges (`rules`)."""
