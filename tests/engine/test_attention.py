"""Attention over the keys and values of many lanes: that of the textbook, for each lane on its own."""

import pytest
import torch

from steerlib.engine.attention import KeyValues, _attend, _attend_by_products

LAYERS, HEADS, HIDDEN, STEPS = 2, 2, 16, 40


@pytest.fixture
def parts():
    """Keys and values of two melodies of 70 positions and three texts of 5, of seven lanes; and their queries."""
    draw = torch.Generator().manual_seed(0)
    melody, text, qkv = (
        torch.randn(shape, generator=draw)
        for shape in (
            (LAYERS, 2, 2, 70, HIDDEN),
            (LAYERS, 2, 3, 5, HIDDEN),
            (STEPS, LAYERS, 7, 3 * HIDDEN),
        )
    )
    return melody, torch.tensor([0, 1, 0, 1, 0, 1, 0]), text, torch.tensor([0, 1, 2, 2, 1, 0, 0]), qkv


def attended(melody, group, text, prompt, qkv, padding=0, exact=True):
    past = KeyValues(melody, group, text, prompt, HEADS, STEPS, exact=exact)
    rows = torch.cat([qkv, qkv.new_zeros(*qkv.shape[:2], padding, qkv.shape[3])], dim=2)
    return torch.stack([torch.stack([past.attend(k, step[k]) for k in range(LAYERS)]) for step in rows])


def by_the_book(melody, group, text, prompt, qkv):
    results = torch.zeros(*qkv.shape[:3], HIDDEN, dtype=qkv.dtype)
    for step in range(STEPS):
        for k in range(LAYERS):
            for lane in range(qkv.shape[2]):
                query, *own = qkv[: step + 1, k, lane].chunk(3, dim=-1)
                keys, values = (
                    torch.cat([melody[k, i, group[lane]], text[k, i, prompt[lane]], own[i]]) for i in range(2)
                )
                heads = [
                    each.unflatten(-1, (HEADS, -1)).transpose(0, 1) for each in (query[-1:], keys, values)
                ]
                attended = torch.nn.functional.scaled_dot_product_attention(*heads)
                results[step, k, lane] = attended.transpose(0, 1).flatten()
    return results


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])  # compiled, and by torch's products
def test_it_is_the_attention_of_the_textbook(parts, dtype):
    parts = [part.to(dtype) if part.is_floating_point() else part for part in parts]
    assert torch.allclose(attended(*parts), by_the_book(*parts), atol=1e-5)


def test_in_half_precision_it_is_the_attention_of_rounded_keys_and_values(parts):
    melody, group, text, prompt, qkv = parts
    rounded = qkv.clone()
    rounded[..., HIDDEN:] = qkv[..., HIDDEN:].half()
    found = attended(*parts, exact=False)
    assert torch.allclose(found, by_the_book(melody, group, text, prompt, rounded), atol=1e-5)
    assert not torch.allclose(found, by_the_book(*parts), atol=1e-5)


@pytest.mark.parametrize("exact", [True, False])
def test_a_lane_does_not_depend_on_the_others_or_on_padding(parts, exact):
    melody, group, text, prompt, qkv = parts
    together = attended(melody, group, text, prompt, qkv, padding=3, exact=exact)
    assert (together[:, :, 7:] == 0).all()
    for lane in range(7):
        place = slice(lane, lane + 1)
        alone = attended(
            melody[:, :, group[place]],
            torch.tensor([0]),
            text[:, :, prompt[place]],
            torch.tensor([0]),
            qkv[:, :, place].contiguous(),
            exact=exact,
        )
        assert torch.equal(alone[:, :, 0], together[:, :, lane])


def test_attention_by_plain_products_is_that_of_the_fused_kernel(rng):
    query, keys, values = (torch.tensor(rng.normal(size=(3, 2, n, 8))).float() for n in (1, 7, 7))
    query = query[:, :, 0]
    for fused, plain in zip(
        _attend(query, keys, values), _attend_by_products(query, keys, values), strict=True
    ):
        assert fused.shape == plain.shape and torch.allclose(fused, plain, atol=1e-6)
