#!/usr/bin/env python3
"""What a member that keeps to nothing can try with an ordinary gRPC library, and how the hub must answer.

Needs grpcio and grpcio-tools; without them it says so and exits with 77. The directory given holds what the city keeps
of its membership: ca.pem, city.pem, city.key. One line for each attempt; exits with 1 when an answer is another than the
one expected. Signatures are left to the tests in Rust: nothing here can be taken for the city's word.
"""

import argparse
import importlib
import os
import queue
import socket
import ssl
import sys
import tempfile
import threading

SKIPPED = 77
HUB_NAME = "hub.liandong.internal"
SESSION = "/liandong.sync.v1.Sync/Session"
RENEW = "/liandong.trust.v1.Membership/Renew"
PATIENCE = 60

try:
    import grpc
    import grpc_tools
    from grpc_tools import protoc
except ImportError as error:
    print(f"skipped: {error}; pip install grpcio grpcio-tools")
    sys.exit(SKIPPED)


def stubs(protos):
    """The messages, compiled from the files of the project."""
    out = tempfile.mkdtemp(prefix="hostile-")
    google = os.path.join(os.path.dirname(grpc_tools.__file__), "_proto")
    files = ["liandong/sync/v1/sync.proto", "liandong/log/v1/log.proto"]
    if protoc.main(["protoc", f"-I{protos}", f"-I{google}", f"--python_out={out}", *files]) != 0:
        sys.exit("the protocol does not compile")
    sys.path.insert(0, out)
    return importlib.import_module("liandong.sync.v1.sync_pb2")


class Member:
    """A city with a valid certificate."""

    def __init__(self, address, directory, site, pb):
        self.address, self.directory, self.site, self.pb = address, directory, site, pb

    def read(self, name):
        with open(os.path.join(self.directory, name), "rb") as file:
            return file.read()

    def channel(self, *more):
        credentials = grpc.ssl_channel_credentials(
            self.read("ca.pem"), self.read("city.key"), self.read("city.pem")
        )
        # Channels would share a connection otherwise.
        options = [("grpc.ssl_target_name_override", HUB_NAME), ("grpc.use_local_subchannel_pool", 1), *more]
        return grpc.secure_channel(self.address, credentials, options)

    def socket(self):
        context = ssl.create_default_context(cafile=os.path.join(self.directory, "ca.pem"))
        context.load_cert_chain(*(os.path.join(self.directory, name) for name in ("city.pem", "city.key")))
        context.set_alpn_protocols(["h2"])
        host, port = self.address.rsplit(":", 1)
        plain = socket.create_connection((host, int(port)), timeout=PATIENCE)
        return context.wrap_socket(plain, server_hostname=HUB_NAME)

    def hello(self, **changes):
        hello = dict(protocol_min=1, protocol_max=1, site=self.site, epoch=b"\3" * 16, nonces=[b"\5" * 16])
        return self.pb.Up(hello=self.pb.Hello(**{**hello, **changes})).SerializeToString()


class Talk:
    """A session: what is said is bytes, what is heard are messages."""

    def __init__(self, member, channel, *said, compression=None):
        self.pb, self.said = member.pb, queue.Queue()
        for message in said:
            self.said.put(message)
        call = channel.stream_stream(SESSION, None, member.pb.Down.FromString)
        self.down = call(iter(self.said.get, None), timeout=PATIENCE, compression=compression)

    def say(self, message):
        self.said.put(message)

    def close(self):
        self.said.put(None)
        self.down.cancel()

    def heard(self):
        """The next message, or the status in its place."""
        try:
            message = next(self.down)
        except StopIteration:
            return "end"
        except grpc.RpcError as error:
            return error.code().name
        kind = message.WhichOneof("message")
        return self.pb.Refusal.Code.Name(message.refusal.code) if kind == "refusal" else kind

    def ends(self):
        """How it ends: the first word that is neither a welcome nor a delivery."""
        word = "welcome"
        while word in ("welcome", "deliver"):
            word = self.heard()
        self.close()
        return word


def nested(depth):
    return b"\xe3\x03" * depth + b"\xe4\x03" * depth


def refused(member, *said, compression=None):
    with member.channel() as channel:
        return Talk(member, channel, *said, compression=compression).ends()


def at_once(member):
    """Eight sessions of one connection, as many as may be: one is the city's, the others are one too many."""
    with member.channel() as channel:
        talks = [Talk(member, channel, member.hello()) for _ in range(8)]
        words = sorted(talk.heard() for talk in talks)
        for talk in talks:
            talk.close()
    return f"{words.count('welcome')} welcome, {words.count('SITE_BUSY')} SITE_BUSY"


def never_reads(member):
    """Asks and asks, and reads nothing but the welcome."""
    pb = member.pb
    with member.channel() as channel:
        talk = Talk(member, channel, member.hello())
        if (word := talk.heard()) != "welcome":
            return word
        ended = threading.Event()
        talk.down.add_done_callback(lambda _: ended.set())
        ask = pb.Up(compare=pb.Compare()).SerializeToString()
        for _ in range(2_000_000):
            if ended.is_set():
                break
            # No more is held here than a moment's worth.
            while talk.said.qsize() > 1_000 and not ended.wait(0.001):
                pass
            talk.say(ask)
        if not ended.is_set() or talk.down.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
            return "goes on"
        return "cut"


def connections(member):
    """Fifty connections: four have a place, the others are closed after a while."""
    beginning = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
    sockets = [member.socket() for _ in range(50)]
    answered = 0
    for one in sockets:
        try:
            one.sendall(beginning)
            answered += one.recv(1) != b""
        except OSError:
            pass
    for one in sockets:
        one.close()
    return f"{answered} answered"


def noise(member):
    """Anything but HTTP/2 behind a good handshake."""
    one = member.socket()
    try:
        one.sendall(bytes(n * 31 % 251 for n in range(65_536)))
        while one.recv(4_096):
            pass
    except TimeoutError:
        return "goes on"
    except OSError:
        pass
    return "cut"


def flood(member):
    """Session after session, each ended well."""
    with member.channel() as channel:
        for _ in range(1_000):
            talk = Talk(member, channel, member.hello())
            word = talk.heard()
            talk.said.put(None)
            if word == "RESOURCE_EXHAUSTED":
                return word
            talk.heard()
    return "goes on"


def renewals(member):
    """Certificate after certificate; a request that is none counts as well."""
    with member.channel() as channel:
        renew = channel.unary_unary(RENEW)
        for _ in range(100):
            try:
                renew(b"", timeout=PATIENCE)
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.INVALID_ARGUMENT:
                    return error.code().name
    return "goes on"


def attempts(member):
    pb = member.pb
    up = lambda **message: pb.Up(**message).SerializeToString()
    nowhere = pb.Position(generation=77, hub_seq=2**64 - 1)
    push = pb.Push(entries=[{"header": b"\xff"}])
    return [
        ("a message of 5 MiB", "TOO_LARGE", lambda: refused(member, b"\0" * (5 << 20))),
        ("a message that is none", "MALFORMED", lambda: refused(member, b"\xff" * 40)),
        ("a message nested without end", "MALFORMED", lambda: refused(member, nested(100_000))),
        (
            "64 MiB of nothing, compressed",
            "UNIMPLEMENTED",
            lambda: refused(member, b"\0" * (64 << 20), compression=grpc.Compression.Gzip),
        ),
        ("no hello", "UNEXPECTED_MESSAGE", lambda: refused(member, up(push=push))),
        ("another city's hello", "WRONG_ORIGIN", lambda: refused(member, member.hello(site=440300))),
        (
            "a history without end",
            "UNEXPECTED_MESSAGE",
            lambda: refused(member, member.hello(generations=[{"generation": n} for n in range(20_000)])),
        ),
        (
            "nonces without end",
            "UNEXPECTED_MESSAGE",
            lambda: refused(member, member.hello(nonces=[b"\5" * 16] * 10_000)),
        ),
        ("sessions at once", "1 welcome, 7 SITE_BUSY", lambda: at_once(member)),
        ("a hello twice", "UNEXPECTED_MESSAGE", lambda: refused_behind_welcome(member, member.hello())),
        (
            "a delivery that never was",
            "UNEXPECTED_MESSAGE",
            lambda: refused_behind_welcome(member, up(applied=pb.Applied(cursor=nowhere))),
        ),
        ("an entry that is none", "MALFORMED", lambda: refused_behind_welcome(member, up(push=push))),
        ("asking without reading", "cut", lambda: never_reads(member)),
        ("noise behind the handshake", "cut", lambda: noise(member)),
        ("connections without end", "4 answered", lambda: connections(member)),
        ("renewals without end", "RESOURCE_EXHAUSTED", lambda: renewals(member)),
        ("sessions without end", "RESOURCE_EXHAUSTED", lambda: flood(member)),
    ]


def refused_behind_welcome(member, said):
    with member.channel() as channel:
        talk = Talk(member, channel, member.hello())
        # The session before may not have ended yet.
        while (word := talk.heard()) == "SITE_BUSY":
            talk.close()
            talk = Talk(member, channel, member.hello())
        if word != "welcome":
            return word
        talk.say(said)
        return talk.ends()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--address", required=True, help="host and port of the hub's sync port")
    parser.add_argument("--directory", required=True, help="with ca.pem, city.pem and city.key")
    parser.add_argument("--site", type=int, default=440100, help="code of the city")
    parser.add_argument("--protos", required=True, help="the directory that holds liandong/")
    args = parser.parse_args()
    member = Member(args.address, args.directory, args.site, stubs(args.protos))
    failed = 0
    for what, expected, attempt in attempts(member):
        found = attempt()
        failed += found != expected
        print(f"{'ok' if found == expected else 'WRONG'}: {what}: {found}, {expected} expected", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
