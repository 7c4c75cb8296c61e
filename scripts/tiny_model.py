#!/usr/bin/env python3
"""tiny_model.py OUT.gguf: a llama-architecture model whose text is fixed.

It is a bigram chain: one-hot embeddings, zero blocks, and an output matrix that is the table of next
tokens. The chat template ends the prompt with a start token that is chosen from the last message
("weather" with tools, "think", "long", anything else), and so selects which chain is spoken. The
texts hold a name, a card, a mail and a key, for the masking tests. Format: GGUF version 3."""
import array
import struct
import sys

DIM, FEED_FORWARD, HEADS, LAYERS, CONTEXT = 384, 64, 6, 2, 8192
UNKNOWN, BEGIN, END = 0, 1, 2
NORMAL, UNKNOWN_TYPE, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6

tokens = [("<unk>", UNKNOWN_TYPE), ("<s>", CONTROL), ("</s>", CONTROL)]
tokens += [("<0x%02X>" % i, BYTE) for i in range(256)]
ids = {}
following = {}


def token(text, kind=NORMAL):
    key = text.replace(" ", "\u2581") if kind == NORMAL else text
    if key not in ids:
        ids[key] = len(tokens)
        tokens.append((key, kind))
    return ids[key]


def chain(start, pieces, then=END):
    at = token(start, CONTROL)
    for piece in pieces:
        number = token(piece, USER_DEFINED if piece.startswith("<") else NORMAL)
        assert at not in following, piece
        following[at] = number
        at = number
    following[at] = then


for name in ("<|user|>", "<|system|>", "<|tool|>"):
    token(name, CONTROL)
chain("<|assistant|>", ["Hello", " Jane", " Doe", ",", " your", " card", " 4111", " 1111", "-1111", "-1111x",
                        " and", " mail", " jane.doe", "@example.com", " are", " on", " file", "."])
chain("<|think|>", ["<think>", "\nthe user wants", " a secret", ": sk-test", "-0123456789abcdef", "\n",
                    "</think>", "\n\nThe answer", " is 42", "!"])
chain("<|call|>", ["<tool_call>", '\n{"name": "', "get_weather", '", "arguments": {"city": "', "Paris",
                   '"}}\n', "</tool_call>"])
chain("<|long|>", [" alpha", " bravo", " charlie", " delta", " echo", " foxtrot"], then=token(" alpha"))
for common in (" ", "a", "e", " the"):
    token(common)
assert len(tokens) <= DIM, len(tokens)
for number in range(len(tokens)):
    following.setdefault(number, ids["Hello"])
following[END] = END

TEMPLATE = r"""{%- if tools %}<|system|>You may call functions. <tools>
{%- for t in tools %}
{{ t | tojson }}
{%- endfor %}
</tools> For each call return <tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call></s>
{% endif %}
{%- for m in messages %}
{%- if m.role == 'assistant' %}<|assistant|>
{%- if m.reasoning_content %}<think>
{{ m.reasoning_content }}
</think>

{% endif %}
{{- m.content if m.content else '' }}
{%- if m.tool_calls %}{% for c in m.tool_calls %}<tool_call>
{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}
</tool_call>{% endfor %}{% endif %}</s>
{% elif m.role == 'tool' %}<|tool|>{{ m.content }}</s>
{% else %}<|{{ m.role }}|>{{ m.content }}</s>
{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{%- set q = messages[-1].content if messages[-1].content is string else '' %}
<|assistant|>{% if tools and messages[-1].role == 'user' and 'weather' in q %}<|call|>{% elif 'think' in q %}<|think|>{% elif 'long' in q %}<|long|>{% endif %}{% endif %}"""


def text(value):
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
ENCODE = {UINT32: lambda v: struct.pack("<I", v), INT32: lambda v: struct.pack("<i", v),
          FLOAT32: lambda v: struct.pack("<f", v), BOOL: lambda v: struct.pack("<?", v), STRING: text}
metadata = []


def put(key, kind, value):
    metadata.append(text(key) + struct.pack("<I", kind) + ENCODE[kind](value))


def put_array(key, kind, values):
    body = b"".join(ENCODE[kind](v) for v in values)
    metadata.append(text(key) + struct.pack("<IIQ", ARRAY, kind, len(values)) + body)


put("general.architecture", STRING, "llama")
put("general.name", STRING, "tiny-fixture")
put("general.file_type", UINT32, 0)
for key, value in (("context_length", CONTEXT), ("embedding_length", DIM), ("block_count", LAYERS),
                   ("feed_forward_length", FEED_FORWARD), ("attention.head_count", HEADS),
                   ("attention.head_count_kv", HEADS), ("rope.dimension_count", DIM // HEADS),
                   ("vocab_size", len(tokens))):
    put("llama." + key, UINT32, value)
put("llama.attention.layer_norm_rms_epsilon", FLOAT32, 1e-5)
put("tokenizer.ggml.model", STRING, "llama")
put_array("tokenizer.ggml.tokens", STRING, [t for t, _ in tokens])
put_array("tokenizer.ggml.scores", FLOAT32, [-float(i) if kind == NORMAL else 0.0 for i, (_, kind) in enumerate(tokens)])
put_array("tokenizer.ggml.token_type", INT32, [kind for _, kind in tokens])
put("tokenizer.ggml.bos_token_id", UINT32, BEGIN)
put("tokenizer.ggml.eos_token_id", UINT32, END)
put("tokenizer.ggml.unknown_token_id", UINT32, UNKNOWN)
put("tokenizer.ggml.add_bos_token", BOOL, True)
put("tokenizer.ggml.add_space_prefix", BOOL, False)
put("tokenizer.chat_template", STRING, TEMPLATE)


def matrix(rows, columns, cells=()):
    out = array.array("f", bytes(4 * rows * columns))
    for row, column, value in cells:
        out[row * columns + column] = value
    return out


count = len(tokens)
ones = array.array("f", [1.0] * DIM)
tensors = [("token_embd.weight", (DIM, count), matrix(count, DIM, [(i, i, 1.0) for i in range(count)])),
           ("output_norm.weight", (DIM,), ones),
           ("output.weight", (DIM, count), matrix(count, DIM, [(n, i, 1.5) for i, n in following.items()]))]
for layer in range(LAYERS):
    block = "blk.%d." % layer
    tensors += [(block + "attn_norm.weight", (DIM,), ones), (block + "ffn_norm.weight", (DIM,), ones)]
    tensors += [(block + n + ".weight", (DIM, DIM), matrix(DIM, DIM))
                for n in ("attn_q", "attn_k", "attn_v", "attn_output")]
    tensors += [(block + "ffn_gate.weight", (DIM, FEED_FORWARD), matrix(FEED_FORWARD, DIM)),
                (block + "ffn_up.weight", (DIM, FEED_FORWARD), matrix(FEED_FORWARD, DIM)),
                (block + "ffn_down.weight", (FEED_FORWARD, DIM), matrix(DIM, FEED_FORWARD))]

ALIGN = 32
out = bytearray(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata)) + b"".join(metadata))
offset = 0
for name, shape, values in tensors:
    out += text(name) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", d) for d in shape)
    out += struct.pack("<IQ", 0, offset)
    offset += (len(values) * 4 + ALIGN - 1) // ALIGN * ALIGN
out += bytes(-len(out) % ALIGN)
for name, shape, values in tensors:
    raw = values.tobytes()
    out += raw + bytes(-len(raw) % ALIGN)
with open(sys.argv[1], "wb") as file:
    file.write(out)
