"""What a client may do wrong: a name, what it sends, and the answers that are right.

An answer is a status, `RST reason` for the stream, `GOAWAY reason` for the connection, `closed` or `nothing`;
the first is what robin gives, the others are as right by RFC 9113. `reason` says the section.
"""

from wire import (ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING,
                  PREFACE, PRIORITIZED, PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame,
                  number, settings)

PROTOCOL, FLOW, SIZE = "GOAWAY PROTOCOL_ERROR", "GOAWAY FLOW_CONTROL_ERROR", "GOAWAY FRAME_SIZE_ERROR"
STREAM, PACKED, CALM = "GOAWAY STREAM_CLOSED", "GOAWAY COMPRESSION_ERROR", "GOAWAY ENHANCE_YOUR_CALM"
RESET, OK, BAD = "RST PROTOCOL_ERROR", "200", "400"
CASES = []


def case(section, *expected):
    def add(function):
        CASES.append((function.__name__.replace("_", " "), section, expected, function))
        return function
    return add


def raw(section, *expected, **frames):
    """Cases that send one thing on a new connection."""
    for name, sent in frames.items():
        CASES.append((name.replace("_", " "), section, expected, lambda c, sent=sent: c.send(sent)))


def fields(section, *expected, **lists):
    """Cases that send one head."""
    for name, sent in lists.items():
        def head(client, sent=sent):
            client.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, client.block(sent)))
        CASES.append((name.replace("_", " "), section, expected, head))


GET = [(":method", "GET"), (":scheme", "http"), (":authority", "localhost"), (":path", "/")]


def without(name):
    return [field for field in GET if field[0] != name]


@case("5.1", OK)
def a_sound_request(c):
    c.request()


# Frames of the wrong form or in the wrong place.
raw("6.5", PROTOCOL, SETTINGS_on_a_stream=settings(stream=1))
raw("6.5", SIZE, SETTINGS_of_7_bytes=frame(SETTINGS, 0, 0, bytes(7)))
raw("6.5", SIZE, SETTINGS_ack_with_a_payload=frame(SETTINGS, ACK, 0, bytes(6)))
raw("6.5.2", PROTOCOL, ENABLE_PUSH_of_2=settings((2, 2)))
raw("6.5.2", FLOW, PROTOCOL, INITIAL_WINDOW_SIZE_too_large=settings((4, 0x80000000)))
raw("6.5.2", PROTOCOL, MAX_FRAME_SIZE_too_small=settings((5, 16383)))
raw("6.5.2", PROTOCOL, MAX_FRAME_SIZE_too_large=settings((5, 1 << 24)))
raw("6.7", PROTOCOL, PING_on_a_stream=frame(PING, 0, 1, bytes(8)))
raw("6.7", SIZE, PING_of_7_bytes=frame(PING, 0, 0, bytes(7)))
raw("6.8", PROTOCOL, GOAWAY_on_a_stream=frame(GOAWAY, 0, 1, bytes(8)))
raw("6.9", SIZE, WINDOW_UPDATE_of_3_bytes=frame(WINDOW_UPDATE, 0, 0, bytes(3)))
raw("6.9", PROTOCOL, WINDOW_UPDATE_of_0=frame(WINDOW_UPDATE, 0, 0, number(0)))
raw("6.9.1", FLOW, window_of_the_connection_beyond_its_most=frame(WINDOW_UPDATE, 0, 0, number(0x7FFFFFFF)))
raw("5.1", PROTOCOL, WINDOW_UPDATE_on_an_idle_stream=frame(WINDOW_UPDATE, 0, 1, number(1)))
raw("5.1", PROTOCOL, DATA_on_an_idle_stream=frame(DATA, END_STREAM, 1, b"x"))
raw("6.1", PROTOCOL, DATA_on_the_connection=frame(DATA, 0, 0, b"x"))
raw("5.1", PROTOCOL, RST_STREAM_on_an_idle_stream=frame(RST_STREAM, 0, 1, number(8)))
raw("6.4", PROTOCOL, RST_STREAM_on_the_connection=frame(RST_STREAM, 0, 0, number(8)))
raw("6.4", SIZE, RST_STREAM_of_3_bytes=frame(RST_STREAM, 0, 1, bytes(3)))
raw("6.3", PROTOCOL, PRIORITY_on_the_connection=frame(PRIORITY, 0, 0, bytes(5)))
raw("6.6", PROTOCOL, PUSH_PROMISE_from_a_client=frame(PUSH_PROMISE, END_HEADERS, 1, number(2)))
raw("6.10", PROTOCOL, CONTINUATION_of_nothing=frame(CONTINUATION, END_HEADERS, 1, b""))
raw("4.2", SIZE, frame_larger_than_was_allowed=frame(DATA, 0, 0, b"", length=1 << 20))
raw("4.2", SIZE, HEADERS_larger_than_was_allowed=frame(HEADERS, END_HEADERS, 1, bytes(16385)))
raw("4.3", PACKED, PROTOCOL, head_that_cannot_be_unpacked=frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\xff" * 12))
raw("4.3", PACKED, PROTOCOL, head_with_an_index_that_is_not=frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\xfe"))
raw("6.2", PROTOCOL, HEADERS_on_the_connection=frame(HEADERS, END_HEADERS, 0, b"\x82"))


@case("5.1.1", PROTOCOL)
def an_even_stream(c):
    c.request(stream=2)


@case("5.1.1", PROTOCOL, "GOAWAY STREAM_CLOSED", "200 GOAWAY PROTOCOL_ERROR")
def a_stream_with_a_number_below_the_last(c):
    c.request(stream=5, path="/slow")
    c.request(stream=3)


@case("6.2", PROTOCOL)
def HEADERS_within_CONTINUATION(c):
    block = c.head()
    c.send(frame(HEADERS, END_STREAM, 1, block[:4]) + frame(HEADERS, END_HEADERS, 3, block))


@case("6.10", PROTOCOL)
def PING_within_CONTINUATION(c):
    c.send(frame(HEADERS, END_STREAM, 1, c.head()[:4]) + frame(PING, 0, 0, bytes(8)))


@case("6.10", PROTOCOL)
def CONTINUATION_of_another_stream(c):
    block = c.head()
    c.send(frame(HEADERS, END_STREAM, 1, block[:4]) + frame(CONTINUATION, END_HEADERS, 3, block[4:]))


def in_pieces(c, size):
    block = c.head()
    pieces = [block[n:n + size] for n in range(0, len(block), size)]
    c.send(frame(HEADERS, END_STREAM, 1, pieces[0]))
    for n, piece in enumerate(pieces[1:], 2):
        c.send(frame(CONTINUATION, END_HEADERS if n == len(pieces) else 0, 1, piece))


@case("6.10", OK)
def a_head_in_four_pieces(c):
    in_pieces(c, -(-len(c.head()) // 4))


@case("6.10", CALM, OK)
def a_head_in_pieces_of_one_byte(c):
    in_pieces(c, 1)


@case("6.1", PROTOCOL)
def padding_longer_than_DATA(c):
    c.request(end=False, method="POST")
    c.send(frame(DATA, PADDED | END_STREAM, 1, b"\x0axx"))


@case("6.2", PROTOCOL)
def padding_longer_than_HEADERS(c):
    c.send(frame(HEADERS, PADDED | END_HEADERS | END_STREAM, 1, b"\xff" + c.head()))


@case("5.3.1", RESET, PROTOCOL, OK)
def a_stream_that_depends_on_itself(c):
    c.send(frame(HEADERS, PRIORITIZED | END_HEADERS | END_STREAM, 1, number(1) + b"\x10" + c.head()))


@case("5.1", STREAM, PROTOCOL, "RST STREAM_CLOSED", "200 RST STREAM_CLOSED", "200 GOAWAY STREAM_CLOSED")
def DATA_after_the_end(c):
    c.request(path="/slow")
    c.send(frame(DATA, END_STREAM, 1, b"x"))


@case("5.1", STREAM, "RST STREAM_CLOSED", PROTOCOL, "200 GOAWAY STREAM_CLOSED")
def HEADERS_after_the_end(c):
    c.request(path="/slow")
    c.request(path="/slow")


@case("8.1", RESET, BAD, PROTOCOL)
def trailers_without_an_end(c):
    c.request(end=False, method="POST")
    c.send(frame(HEADERS, END_HEADERS, 1, c.block([("x-a", "b")])))


@case("8.1", OK, RESET, BAD)  # robin passes no trailers of requests on
def trailers_with_a_pseudo_header(c):
    c.request(end=False, method="POST")
    c.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, c.block([(":path", "/x")])))


@case("6.9", "RST FLOW_CONTROL_ERROR", FLOW)
def window_of_a_stream_beyond_its_most(c):
    c.request(path="/slow")
    c.send(frame(WINDOW_UPDATE, 0, 1, number(0x7FFFFFFF)))


@case("6.9", RESET, PROTOCOL)
def WINDOW_UPDATE_of_0_on_a_stream(c):
    c.request(path="/slow")
    c.send(frame(WINDOW_UPDATE, 0, 1, number(0)))


@case("6.9.1", FLOW, "RST FLOW_CONTROL_ERROR", "GOAWAY PROTOCOL_ERROR")
def a_body_beyond_the_window(c):
    c.request(end=False, method="POST", path="/never")
    for _ in range(200):
        if not c.send(frame(DATA, 0, 1, bytes(16384))):
            break


# Heads that are no request (section 8.3).
fields("8.3.1", RESET, BAD, no_method=without(":method"), no_scheme=without(":scheme"),
       no_path=without(":path"), an_empty_path=without(":path") + [(":path", "")])
fields("8.3", RESET, BAD, two_methods=GET + [(":method", "GET")], two_paths=GET + [(":path", "/x")],
       two_schemes=GET + [(":scheme", "http")], two_authorities=GET + [(":authority", "a")])
fields("8.3", RESET, BAD, PROTOCOL, pseudo_header_after_a_header=without(":path") + [("x-a", "b"), (":path", "/")],
       an_unknown_pseudo_header=GET + [(":what", "x")], a_pseudo_header_of_answers=GET + [(":status", "200")])
fields("8.2", RESET, BAD, PROTOCOL, a_name_in_upper_case=GET + [("X-A", "b")], a_name_with_a_blank=GET + [("x a", "b")],
       an_empty_name=GET + [("", "b")], a_value_with_a_line_feed=GET + [("x-a", "b\nc")],
       a_value_with_NUL=GET + [("x-a", "b\0c")])
fields("8.2.2", RESET, BAD, connection=GET + [("connection", "close")], te_gzip=GET + [("te", "gzip")],
       transfer_encoding=GET + [("transfer-encoding", "chunked")], keep_alive=GET + [("keep-alive", "1")],
       proxy_connection=GET + [("proxy-connection", "x")], upgrade=GET + [("upgrade", "h2c")])
fields("8.2.2", OK, te_trailers=GET + [("te", "trailers")])
fields("8.3.1", BAD, RESET, no_authority_and_no_host=without(":authority"),
       another_host_than_the_authority=GET + [("host", "other.example")],
       userinfo_in_the_authority=without(":authority") + [(":authority", "a@localhost")])
fields("8.3.1", OK, a_host_without_an_authority=without(":authority") + [("host", "localhost")])
fields("8.3.1", BAD, RESET, a_path_with_a_blank=without(":path") + [(":path", "/a b")],
       a_path_without_a_slash=without(":path") + [(":path", "x")],
       an_absolute_path=without(":path") + [(":path", "http://other/")])
fields("8.5", "405", BAD, RESET, CONNECT=[(":method", "CONNECT"), (":authority", "localhost:1")])
fields("8.5", "405", BAD, RESET, TRACE=[(":method", "TRACE")] + without(":method"))


@case("8.1.1", RESET, BAD)
def a_length_larger_than_the_body(c):
    c.request(end=False, method="POST", more=[("content-length", "10")])
    c.send(frame(DATA, END_STREAM, 1, b"x"))


@case("8.1.1", RESET, BAD)
def a_length_smaller_than_the_body(c):
    c.request(end=False, method="POST", more=[("content-length", "1")])
    c.send(frame(DATA, END_STREAM, 1, b"xxx"))


@case("8.1.1", RESET, BAD)
def two_lengths(c):
    c.request(end=False, method="POST", more=[("content-length", "1"), ("content-length", "2")])
    c.send(frame(DATA, END_STREAM, 1, b"x"))


@case("10.5.1", "431", BAD, "RST PROTOCOL_ERROR")
def a_head_that_is_too_large(c):
    block = c.head(more=[(f"x-{n}", "v" * 4000) for n in range(15)])
    pieces = [block[n:n + 16000] for n in range(0, len(block), 16000)]
    c.send(frame(HEADERS, END_STREAM, 1, pieces[0]))
    for n, piece in enumerate(pieces[1:]):
        c.send(frame(CONTINUATION, END_HEADERS if n == len(pieces) - 2 else 0, 1, piece))


@case("8.1", "200 RST NO_ERROR", "413 RST NO_ERROR")
def an_answer_before_the_end_of_the_upload(c):
    c.to_the_last = True
    c.request(end=False, method="POST", path="/small", more=[("content-length", "1000000")])
    c.send(frame(DATA, 0, 1, bytes(1000)))


# Floods: the connection ends, or nothing comes of them.
@case("10.5", CALM, "closed")
def a_flood_of_CONTINUATION(c):
    c.send(frame(HEADERS, END_STREAM, 1, c.head()))
    for _ in range(20_000):
        if not c.send(frame(CONTINUATION, 0, 1, c.block([("x-a", "v" * 100)])) ):
            break


@case("10.5", CALM, "closed")
def a_flood_of_empty_CONTINUATION(c):
    c.send(frame(HEADERS, END_STREAM, 1, c.head()))
    for _ in range(200):
        if not c.send(frame(CONTINUATION, 0, 1) * 1000):
            break


def flood(c, piece, times):
    """Sends, and reads as much as comes, so that answers have somewhere to go."""
    for _ in range(times):
        if not c.send(piece):
            return
        c.frames(lambda seen: seen[0] == GOAWAY and c.keep(seen), patience=0.001)


@case("10.5", CALM, "closed", "GOAWAY NO_ERROR")
def a_flood_of_PING(c):
    flood(c, frame(PING, 0, 0, bytes(8)) * 4000, 200)


@case("10.5", CALM, "closed", "GOAWAY NO_ERROR")
def a_flood_of_SETTINGS(c):
    flood(c, settings((3, 100)) * 4000, 220)


@case("10.5", CALM, "closed", "GOAWAY NO_ERROR")
def a_flood_of_PRIORITY(c):
    flood(c, frame(PRIORITY, 0, 1, number(0) + b"\x10") * 4000, 220)


@case("10.5", CALM, "closed", "GOAWAY NO_ERROR")
def a_flood_of_WINDOW_UPDATE(c):
    c.request(path="/slow")
    flood(c, frame(WINDOW_UPDATE, 0, 1, number(1)) * 4000, 220)


@case("10.5", CALM, "closed", "GOAWAY NO_ERROR", "200 GOAWAY ENHANCE_YOUR_CALM")
def a_flood_of_empty_DATA(c):
    c.request(end=False, method="POST", path="/never")
    flood(c, frame(DATA, 0, 1) * 4000, 300)


@case("10.5", CALM, "closed", "GOAWAY NO_ERROR")
def a_flood_of_unknown_frames(c):
    flood(c, frame(0x77, 0, 0, bytes(8)) * 4000, 200)


@case("10.5", CALM, "closed", "GOAWAY NO_ERROR")
def rapid_reset(c):
    stream = 1
    for _ in range(400):
        piece = b""
        for _ in range(50):
            piece += frame(HEADERS, END_HEADERS | END_STREAM, stream, c.head(path="/slow"))
            piece += frame(RST_STREAM, 0, stream, number(8))
            stream += 2
        if not c.send(piece):
            return


@case("10.5", CALM, "closed", "GOAWAY NO_ERROR")
def rapid_reset_one_at_a_time(c):
    for stream in range(1, 6000, 2):
        if not c.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, c.head(path="/slow"))):
            return
        c.frames(lambda seen: seen[0] == GOAWAY and c.keep(seen), patience=0.003)
        if c.closed or c.kept or not c.send(frame(RST_STREAM, 0, stream, number(8))):
            return


@case("6.5.3", CALM, "closed", "GOAWAY NO_ERROR", PROTOCOL)
def streams_that_are_wrong_without_end(c):
    for stream in range(1, 5000, 2):
        block = c.block([(":method", "GET"), ("X", "y")])
        if not c.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, block)):
            return


@case("5.1.2", "RST REFUSED_STREAM", "200 RST REFUSED_STREAM")
def more_streams_than_may_be(c):
    for n in range(200):
        c.request(stream=2 * n + 1, path="/slow")


@case("8.1", "502 RST NO_ERROR")
def an_error_before_the_end_of_the_upload(c):
    c.to_the_last = True
    c.request(end=False, method="POST", path="/dead", more=[("content-length", "1000000")])
    c.send(frame(DATA, 0, 1, bytes(1000)))


FIRST = [("no preface", "3.4", ("400", "GOAWAY PROTOCOL_ERROR", "closed", "nothing"), b"x" * 40),
         ("a preface that is cut", "3.4", ("nothing", "closed"), PREFACE[:20]),
         ("no SETTINGS after the preface", "3.4", ("nothing", PROTOCOL), PREFACE + frame(PING, 0, 0, bytes(8)))]
