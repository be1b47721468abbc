"""Who counts: adapters around libraries, what each claims, and the engine that runs them."""
