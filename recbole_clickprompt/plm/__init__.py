"""The pretrained language model (PLM): its files, its architectures, and how prompts enter it.

Letters of tensor shapes, the same in the whole package (docs/design.md has the same table):

    B  rows of a batch                       K  prompts per layer
    F  feature fields of a row               L  PLM layers that prompts enter
    d  width of a field's embedding          H  attention heads
    Q  width of the backbone's final         D  size of an attention head
       representation q                      W  width of the PLM's states
    Z  tokens of a row, padding included     V  tokens that an LM head chooses from
    P  positions of a row that are computed
       or masked, unused slots included

    T  slots of a row's click history        A  width of an adapted vector of a text
    M  near items                            U  distinct ids or texts of a batch

H * D is W in most families. With grouped-query attention, queries are wider than keys and values.

Every other size is a word, as in ``(ids + 1,)``, ``(tokens, W)`` or ``(masked, V)``.

Prompts come first among the keys and values of a layer; they have no position, and text keeps its own:

    | prompt 1 ... prompt K | token 1 ... token Z |
"""
