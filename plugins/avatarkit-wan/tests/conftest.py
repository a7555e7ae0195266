"""A folder of weights, laid out like the released one, with tiny random networks."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

# The plugin's heavy needs are an extra: without them there is nothing to test.
if any(importlib.util.find_spec(name) is None for name in ("diffusers", "transformers", "accelerate", "ftfy")):
    collect_ignore_glob = ["test_*.py"]

SIZES = {"4": 16, "8": 16, "16": 16}


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """All parts of the pipeline, saved by the libraries themselves."""
    from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanAnimateTransformer3DModel
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        CLIPVisionModel,
        PreTrainedTokenizerFast,
        UMT5Config,
        UMT5EncoderModel,
    )

    folder = tmp_path_factory.mktemp("weights") / "wan"
    with torch.random.fork_rng():
        torch.manual_seed(1)
        vae = AutoencoderKLWan(
            base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
        )
        transformer = WanAnimateTransformer3DModel(
            patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, in_channels=36, latent_channels=16,
            out_channels=16, text_dim=32, freq_dim=256, ffn_dim=32, num_layers=2, cross_attn_norm=True,
            qk_norm="rms_norm_across_heads", image_dim=4, rope_max_seq_len=32, motion_encoder_channel_sizes=SIZES,
            motion_encoder_size=16, motion_style_dim=8, motion_dim=4, motion_encoder_dim=16,
            face_encoder_hidden_dim=16, face_encoder_num_heads=2, inject_face_latents_blocks=2,
        )  # fmt: skip
        encoder = CLIPVisionModel(
            CLIPVisionConfig(
                hidden_size=4, projection_dim=4, num_hidden_layers=2, num_attention_heads=2, image_size=4,
                intermediate_size=16, patch_size=1,
            )
        )  # fmt: skip
        text = UMT5EncoderModel(
            UMT5Config(vocab_size=8, d_model=32, d_kv=4, d_ff=8, num_layers=1, num_heads=2, tie_word_embeddings=False)
        )
        for name, value in transformer.named_parameters():
            if name.startswith(("pose_patch", "face_", "motion_", "proj_out")):
                value.data.mul_(8.0)  # so that what drives the network shows in 8-bit frames
    vae.save_pretrained(folder / "vae")
    transformer.save_pretrained(folder / "transformer")
    encoder.save_pretrained(folder / "image_encoder")
    text.save_pretrained(folder / "text_encoder")
    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)
    scheduler.save_pretrained(folder / "scheduler")
    size = {"height": 4, "width": 4}
    CLIPImageProcessor(crop_size=size, size=size).save_pretrained(folder / "image_processor")
    words = models.WordLevel({"<pad>": 0, "</s>": 1, "<unk>": 2, "moves": 3}, unk_token="<unk>")
    tokenizer = Tokenizer(words)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder / "tokenizer")
    return folder
