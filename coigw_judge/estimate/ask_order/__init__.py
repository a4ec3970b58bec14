"""Which order of rubrics is the cheapest, and how sure that is (docs/order.md)."""
