"""The pretrained language model (PLM): its files, its architectures, and how prompts enter it.

Letters of tensor shapes, in the whole package:

    B  rows of a batch                       K  prompts per layer
    F  feature fields of a backbone          L  PLM layers that prompts enter
    Q  width of a backbone's representation  W  width of the PLM's states
    Z  tokens of a row, padding included     H  attention heads
    P  positions of a row that are asked for D  width of a head, W / H
    V  tokens of the vocabulary              N  any other number, said where it is used

A layer sees, in this order along its keys and values,

    | prompt 1 ... prompt K | token 1 ... token Z |      prompts have no position, text keeps its own
"""
