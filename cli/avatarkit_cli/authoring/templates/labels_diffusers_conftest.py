"""Tiny random weights under the names of the real ones, so that the tests need no download."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch
from avatarkit_example import BASE
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast


@pytest.fixture(autouse=True, scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    home, before = tmp_path_factory.mktemp("home"), os.environ.get("AVATARKIT_CACHE")
    blocks = {"block_out_channels": (4, 8), "layers_per_block": 1, "norm_num_groups": 2}
    ends = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            sample_size=32, in_channels=4, out_channels=4, cross_attention_dim=8, attention_head_dim=2,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            **blocks,
        )  # fmt: skip
        vae = AutoencoderKL(
            in_channels=3, out_channels=3, latent_channels=4, down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2, **blocks,
        )  # fmt: skip
        sizes = {"vocab_size": 4, "hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1}
        text = CLIPTextModel(CLIPTextConfig(**sizes, **ends))
    words = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "<unk>": 2, "photo": 3}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", eos_token="</s>", pad_token="</s>", unk_token="<unk>", model_max_length=16
    )
    scheduler = DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, steps_offset=1)
    StableDiffusionPipeline(
        vae=vae, text_encoder=text, tokenizer=tokenizer, unet=unet, scheduler=scheduler, safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(home / "weights" / BASE.name)  # fmt: skip
    os.environ["AVATARKIT_CACHE"] = str(home)
    yield
    os.environ.pop("AVATARKIT_CACHE")
    if before is not None:
        os.environ["AVATARKIT_CACHE"] = before
