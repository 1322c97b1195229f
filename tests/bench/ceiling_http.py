"""Ceiling of the accept figure: the product's HTTP server with a bare Starlette route that reads the body and answers a constant.

Program: `ceiling_http.py PORT`. The answer has the length of a real one.
"""

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

ANSWER = (
    b'{"result":true,"statusCode":200,"message":"request was successful","info":{"emailIdList":'
    b'["1760000000123_42_7_3391.sg-0_0_0_1-inbound0$u000000000001@example.net"]}}'
)


async def constant(request: Request) -> Response:
    await request.body()
    return Response(ANSWER, media_type="application/json")


def main() -> None:
    app = Starlette(routes=[Route("/mail/send", constant, methods=["POST"])])
    uvicorn.run(
        app, host="127.0.0.1", port=int(sys.argv[1]), loop="uvloop", http="httptools", log_level="warning", access_log=False
    )


if __name__ == "__main__":
    main()
