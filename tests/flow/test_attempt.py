from pathlib import Path
from tests.running import serving
async def test_try(data: Path) -> None:
    async with serving(data) as node:
        ids = await node.accepted()
        await node.settled()
        print(ids, await node.recipients(), await node.life(ids[0]))
