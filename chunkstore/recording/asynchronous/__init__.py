"""Recording in asyncio: coroutine functions as steps and branches. Nothing here loads asyncio before it is used."""
