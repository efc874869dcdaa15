"""Review: packages, their seats, and what people say."""
