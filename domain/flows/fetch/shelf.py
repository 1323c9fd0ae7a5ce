"""Parts that belong to no customer: products, prices, test clocks."""

from domain.flows.fetch.reading import Reading
from domain.rules.shapes import parse_clock, parse_price, parse_product


async def read_product(reading: Reading, product_id: str) -> None:
    answer = await reading.get(f"/v1/products/{product_id}")
    reading.watch("product", answer)
    reading.fetched.products[product_id] = parse_product(answer)


async def read_price(reading: Reading, price_id: str) -> None:
    answer = await reading.get(f"/v1/prices/{price_id}")
    reading.watch("price", answer)
    reading.fetched.prices[price_id] = parse_price(answer)


async def read_clock(reading: Reading, clock_id: str) -> None:
    answer = await reading.get(f"/v1/test_helpers/test_clocks/{clock_id}")
    reading.watch("test_clock", answer)
    reading.fetched.clocks[clock_id] = parse_clock(answer)
