"""The origin and the client of a story about gRPC, by grpcio.

    grpc_story.py serve         serves, and says its port
    grpc_story.py call ADDRESS  calls through ADDRESS; exits with 0 if all is well
"""

import concurrent.futures
import queue
import sys
import threading

import grpc

cancelled = threading.Event()


def unary(request, context):
    metadata = dict(context.invocation_metadata())
    context.send_initial_metadata((("x-begin", "b"),))
    context.set_trailing_metadata((("x-end", metadata.get("x-sent", "")), ("x-end-bin", b"\0\1")))
    return request.upper()


def fail(request, context):
    context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: ü")


def count(request, context):
    for number in range(int(request)):
        yield str(number).encode()


def gather(requests, context):
    return b",".join(requests)


def talk(requests, context):
    for request in requests:
        yield request[::-1]


def hang(request, context):
    context.add_callback(cancelled.set)
    yield b"begun"
    cancelled.wait(30)


def was_cancelled(request, context):
    return b"yes" if cancelled.wait(10) else b"no"


def serve():
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "Count": grpc.unary_stream_rpc_method_handler(count),
        "Gather": grpc.stream_unary_rpc_method_handler(gather),
        "Talk": grpc.stream_stream_rpc_method_handler(talk),
        "Hang": grpc.unary_stream_rpc_method_handler(hang),
        "WasCancelled": grpc.unary_unary_rpc_method_handler(was_cancelled),
    }
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(8))
    handler = grpc.method_handlers_generic_handler("story.Story", handlers)
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    server.wait_for_termination()


def call(address):
    channel = grpc.insecure_channel(address)

    def method(kind, name):
        return getattr(channel, kind)("/story.Story/" + name)

    answer, done = method("unary_unary", "Unary").with_call(
        b"hello", metadata=(("x-sent", "t"),), timeout=10
    )
    assert answer == b"HELLO", answer
    assert dict(done.initial_metadata())["x-begin"] == "b"
    trailing = dict(done.trailing_metadata())
    assert trailing["x-end"] == "t" and trailing["x-end-bin"] == b"\0\1", trailing

    large = b"x" * 3_000_000
    assert method("unary_unary", "Unary")(large, timeout=20) == large.upper()
    assert method("unary_unary", "Unary")(b"", timeout=10) == b""

    try:
        method("unary_unary", "Fail")(b"", timeout=10)
        raise AssertionError("no error")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND, error
        assert error.details() == "no such thing: ü", error

    counted = list(method("unary_stream", "Count")(b"1000", timeout=20))
    assert counted == [str(number).encode() for number in range(1000)]
    gathered = method("stream_unary", "Gather")(iter([b"a", b"b", b"c"]), timeout=10)
    assert gathered == b"a,b,c", gathered

    # Each message waits for the answer to the one before it.
    said = queue.Queue()
    answers = method("stream_stream", "Talk")(iter(said.get, None), timeout=20)
    for word in (b"abc", b"de", b"f" * 100_000):
        said.put(word)
        assert next(answers) == word[::-1]
    said.put(None)
    assert list(answers) == []

    hanging = method("unary_stream", "Hang")(b"", timeout=60)
    assert next(hanging) == b"begun"
    hanging.cancel()
    assert method("unary_unary", "WasCancelled")(b"", timeout=20) == b"yes"

    try:
        list(method("unary_stream", "Hang")(b"", timeout=0.2))
    except grpc.RpcError as error:
        assert error.code() in (grpc.StatusCode.DEADLINE_EXCEEDED,), error
    channel.close()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve()
    else:
        call(sys.argv[2])
