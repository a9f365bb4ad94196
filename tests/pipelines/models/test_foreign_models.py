"""Folders and files as people really have them: every decision is told, what is read is exact, the rest is refused by name."""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile

import pytest
import torch
from diffusers import AutoencoderKL, DDPMPipeline, DDPMScheduler, FlowMatchEulerDiscreteScheduler
from safetensors.torch import load, save_file

from diffusion_core.condition import Condition
from pipelines.models.loading import load_model
from pipelines.sampling.request import SamplingRequest
from pipelines.sampling.sample import sample

WEIGHTS = "diffusion_pytorch_model.safetensors"
HAND = ("--schedule", "linear", "--prediction", "epsilon")
X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
T = torch.tensor([3, 700])


@pytest.fixture
def folder(small_unet, tmp_path):
    """A pipeline with the network and a scheduler."""
    DDPMPipeline(small_unet, DDPMScheduler()).save_pretrained(tmp_path / "pipeline")
    return tmp_path / "pipeline"


def load_file(path):
    """Read weights without a map of the file, which may be written again."""
    return load(path.read_bytes())


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def dropped(path, *keys):
    path.write_text(json.dumps({key: value for key, value in json.loads(path.read_text()).items() if key not in keys}))


def edit_weights(path, change, **options):
    save_file(change(load_file(path)), path, **options)


@torch.no_grad()
def assert_the_network(run, unet, atol=1e-6, condition=None, labels=None):
    model = load_model(run, "cpu", torch.float32)
    expected = unet(X, T, labels, return_dict=False)[0]
    torch.testing.assert_close(model.denoiser.network(X, T.float(), condition), expected, rtol=0, atol=atol)
    return model


def test_variants(small_unet, folder, import_it, refused, tmp_path):
    unet = folder / "unet"
    half = {name: tensor.half() for name, tensor in load_file(unet / WEIGHTS).items()}
    save_file(half, unet / "diffusion_pytorch_model.fp16.safetensors")
    run, said = import_it(folder, name="both")
    assert "the weights are those of full precision; also there, and not used: fp16" in said
    assert "beside the network" not in said
    assert_the_network(run, small_unet)
    run, said = import_it(folder, "--variant", "fp16", name="asked")
    assert "those of the variant fp16" in said
    assert "weights of float16 are converted to float32" in said
    assert_the_network(run, small_unet, atol=5e-3)
    (unet / WEIGHTS).unlink()
    run, said = import_it(folder, name="alone")
    assert "those of the variant fp16" in run.config.import_notes[0]
    shutil.copy(unet / "diffusion_pytorch_model.fp16.safetensors", unet / "diffusion_pytorch_model.ema.SAFETENSORS")
    assert "has the variants ema, fp16 of the weights: choose one with --variant" in refused(folder)
    assert "has no variant 'bf16' of the weights: there are ema, fp16" in refused(folder, "--variant", "bf16")


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_shards(small_unet, folder, import_it, refused, variant):
    small_unet.save_pretrained(folder / "unet", max_shard_size="60KB", variant=variant)
    unet = folder / "unet"
    (unet / WEIGHTS).unlink()
    shards = sorted(unet.glob("*-of-*.safetensors"))
    assert len(shards) > 2
    run, said = import_it(folder)
    assert f"the weights lie in {len(shards)} shards" in said
    assert_the_network(run, small_unet)
    [index] = unet.glob("*.index*.json")
    whole = index.read_text()
    index.write_text(whole.replace(shards[1].name, "../" + shards[1].name))
    assert "shards must lie beside their index" in refused(folder)
    index.write_text("[]")
    assert "lists no shards" in refused(folder)
    index.unlink()
    import_it(folder, name="without-index")
    index.write_text(whole)
    shards[1].unlink()
    assert f"lacks 1 of {len(shards)} shards, first {shards[1].name}" in refused(folder)


def test_older_keys(small_unet, folder, import_it):
    """A list as the size, ``predict_epsilon``, ``timesteps``, keys that are missing or unknown, and older names of layers."""
    scheduler = folder / "scheduler" / "scheduler_config.json"
    dropped(scheduler, "prediction_type", "num_train_timesteps", "clip_sample_range", "thresholding")
    edit(scheduler, predict_epsilon=False, timesteps=500, tensor_format="pt", variance_type="fixed_large")
    edit(folder / "unet" / "config.json", sample_size=[8, 8], old_setting=3)
    dropped(folder / "unet" / "config.json", "mid_block_type", "dropout", "add_attention")
    older = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def rename(weights):
        for new, old in older.items():
            weights = {name.replace(f".{new}.", f".{old}."): tensor for name, tensor in weights.items()}
        return weights

    edit_weights(folder / "unet" / WEIGHTS, rename)
    run, said = import_it(folder)
    assert (run.config.diffusion.prediction, run.config.diffusion.timesteps) == ("x0", 500)
    for told in (
        "predict_epsilon=False is read as prediction_type 'sample'",
        "timesteps is read as num_train_timesteps",
        "keys that DDPMScheduler does not know are not used: tensor_format",
        "options of sampling are not kept (variance_type=fixed_large)",
        "settings that diffusers' UNet2DModel does not know have no effect there either: old_setting=3",
        "attention layers have the names of an older diffusers",
        "images have 8 pixels a side",
    ):
        assert told in said
    assert all(f"- {note}\n" in said for note in run.config.import_notes)
    assert_the_network(run, small_unet)


def test_parts_by_other_names(small_unet, folder, import_it, refused):
    (folder / "unet").rename(folder / "denoiser")
    (folder / "scheduler").rename(folder / "noise_scheduler")
    (folder / "model_index.json").unlink()
    run, said = import_it(folder, name="renamed")
    assert "the network is denoiser" in said
    shutil.copytree(folder / "denoiser", folder / "denoiser_ema")
    assert "has several networks (denoiser, denoiser_ema): give the folder of one of them" in refused(folder)
    assert "no scheduler was saved with the model" in refused(folder / "denoiser")
    (folder / "noise_scheduler").rename(folder / "scheduler")
    _, said = import_it(folder / "denoiser_ema", name="ema")
    assert "the scheduler is the one beside the network" in said
    assert_the_network(run, small_unet)


def test_pipelines_of_other_networks_are_named(refused, tmp_path):
    part = tmp_path / "dit" / "transformer"
    part.mkdir(parents=True)
    (part / "config.json").write_text(json.dumps({"_class_name": "DiTTransformer2DModel"}))
    assert "holds no network that can be imported (transformer: DiTTransformer2DModel)" in refused(tmp_path / "dit")
    assert "there is no google/ddpm-cifar10-32: give a folder" in refused("google/ddpm-cifar10-32")


@torch.no_grad()
def test_a_table_of_timesteps_is_read_at_whole_ones(make_unet, import_it, tmp_path):
    unet = make_unet(time_embedding_type="learned", num_train_timesteps=1000)
    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(tmp_path / "learned")
    run, said = import_it(tmp_path / "learned")
    assert "the network has a table of timesteps, so fractional ones are rounded" in said
    network = assert_the_network(run, unet).denoiser.network
    torch.testing.assert_close(network(X, torch.tensor([700.4])), unet(X, torch.tensor(700), return_dict=False)[0])


def test_a_size_that_the_model_does_not_say_is_asked_for(folder, import_it, refused):
    edit(folder / "unet" / "config.json", sample_size=None)
    assert "has sample_size=None: state the side of its images with --image-size" in refused(folder)
    run, _ = import_it(folder, "--image-size", 16)
    assert run.config.image_shape == (3, 16, 16)


@pytest.fixture
def class_folder(make_unet, tmp_path):
    unet = make_unet(num_class_embeds=3)
    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(tmp_path / "classes")
    return unet, tmp_path / "classes"


def test_a_class_conditional_network(class_folder, import_it, command, tmp_path):
    unet, folder = class_folder
    run, said = import_it(folder)
    assert "the network takes 3 classes, called by their numbers" in said
    labels = torch.tensor([2, 0])
    model = assert_the_network(run, unet, condition=Condition(labels=labels), labels=labels)
    assert model.config.condition.classes == ("0", "1", "2")
    *_, last = sample(model, SamplingRequest(3, steps=2, label="all"))
    assert last.x.shape == (3, 3, 8, 8)
    for wrong in ((), ("--label", "1", "--guidance", "2")):
        arguments = ("pipelines.sample", run.path, "--num-images", 2, "--steps", 2, "--out", tmp_path / "out", *wrong)
        assert "always needs a label and cannot be guided" in command(*arguments).refused_in_one_sentence()


@pytest.mark.parametrize("place", ["unet", "index", "card"])
def test_names_of_classes(class_folder, import_it, place):
    folder = class_folder[1]
    if place == "card":
        (folder / "README.md").write_text("---\nlicense: mit\nid2label:\n  0: cat\n  1: dog\n  7: ox\n---\n# A model\n")
    else:
        file = folder / ("unet/config.json" if place == "unet" else "model_index.json")
        edit(file, id2label={"0": "cat", "1": "dog", "7": "ox"})
    run, said = import_it(folder)
    assert run.config.condition.classes == ("cat", "dog", "2")
    assert "1 without a name are called by their numbers; 1 names for other numbers are not used" in said


@torch.no_grad()
@pytest.mark.parametrize("null", [0, 2])
def test_a_class_that_stands_for_none_allows_guidance(class_folder, import_it, refused, null):
    unet, folder = class_folder
    run, _ = import_it(folder, "--null-class", null)
    model = load_model(run, "cpu", torch.float32)
    theirs = [number for number in range(3) if number != null]
    assert model.config.condition.classes == tuple(map(str, theirs))
    condition = Condition(labels=torch.tensor([0, 1]), dropped=torch.tensor([False, True]))
    expected = unet(X, T, torch.tensor([theirs[0], null]), return_dict=False)[0]
    torch.testing.assert_close(model.denoiser.network(X, T.float(), condition), expected, rtol=0, atol=1e-6)
    without = unet(X, T, torch.tensor([null, null]), return_dict=False)[0]
    torch.testing.assert_close(model.denoiser.network(X, T.float(), None), without, rtol=0, atol=1e-6)
    *_, last = sample(model, SamplingRequest(2, steps=2, label="1" if null == 0 else "0", guidance=2.0))
    assert bool(last.x.isfinite().all())
    assert "has classes 0 to 2; choose one of them" in refused(folder, "--null-class", 3)


@torch.no_grad()
def test_a_pipeline_of_latents(make_unet, import_it, refused, tmp_path):
    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    vae = AutoencoderKL(**blocks, block_out_channels=(8, 8), norm_num_groups=4, sample_size=16, scaling_factor=0.5).eval()
    unet = make_unet(in_channels=4, out_channels=4)
    unet.save_pretrained(tmp_path / "theirs" / "unet")
    vae.save_pretrained(tmp_path / "theirs" / "vae")
    FlowMatchEulerDiscreteScheduler().save_pretrained(tmp_path / "theirs" / "scheduler")
    run, said = import_it(tmp_path / "theirs")
    assert "the network denoises latents, which vae decodes" in said
    model = load_model(run, "cpu", torch.float32)
    assert (model.state_shape, model.image_shape) == ((4, 8, 8), (3, 16, 16))
    z = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    expected = unet(z, T + 1, return_dict=False)[0]
    torch.testing.assert_close(model.denoiser.network(z, T.float()), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(model.decode(z), vae.decode(z / 0.5).sample.clamp(-1, 1), rtol=0, atol=1e-5)
    edit(tmp_path / "theirs" / "vae" / "config.json", _class_name="VQModel")
    assert "holds a VQModel" in refused(tmp_path / "theirs")


PREFIXES = ["_orig_mod.", "module.", "ema_model.", "model.", "module._orig_mod.", "ema.module."]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_single_file_with_a_prefix(small_unet, folder, import_it, prefix, tmp_path):
    weights = {prefix + name: tensor for name, tensor in load_file(folder / "unet" / WEIGHTS).items()}
    other = {"online_model." + name: torch.zeros_like(tensor) for name, tensor in small_unet.state_dict().items()}
    step = {"step": torch.tensor(7)}
    save_file(weights | (other | step if prefix == "ema_model." else {}), tmp_path / "net.safetensors")
    run, said = import_it(tmp_path / "net.safetensors", "--config", folder / "unet" / "config.json", *HAND)
    assert_the_network(run, small_unet)
    if prefix == "ema_model.":
        assert f"{len(other)} other tensors under 'online_model.' are not used" in said
        assert "1 other tensors are not used, first step" in said


@pytest.mark.parametrize("kind", ["tiny", "class", "latent", "autoencoder"])
def test_our_own_networks_without_their_header(
    kind, tiny_run, class_run, latent_run, autoencoder_run, import_it, refused, tmp_path
):
    run = {"tiny": tiny_run, "class": class_run, "latent": latent_run, "autoencoder": autoencoder_run}[kind]
    weights = load_file(run.model_path)
    file = tmp_path / "own.safetensors"
    save_file({f"module._orig_mod.{name}": tensor for name, tensor in weights.items()}, file)
    assert "without its configuration: put its config.json beside it, or give --config" in refused(file)
    shutil.copy(run.path / "config.json", tmp_path / "config.json")
    made, _ = import_it(file)
    assert all(torch.equal(tensor, weights[name].float()) for name, tensor in load_file(made.model_path).items())
    assert made.config.network == run.config.network
    assert "is for models of other libraries" in refused(file, "--schedule", "linear")


@torch.no_grad()
@pytest.mark.parametrize("objective", ["pred_v", "pred_noise", "pred_x0"])
def test_denoising_diffusion_pytorch(objective, import_it, refused, tmp_path):
    """Its EMA of a GaussianDiffusion, with the schedule and the objective that its buffers tell."""
    from denoising_diffusion_pytorch import GaussianDiffusion, Unet

    torch.manual_seed(0)
    shape = {"full_attn": (True, False), "channels": 1, "attn_heads": 2} if objective == "pred_v" else {}
    theirs = Unet(8, dim_mults=(1, 2), attn_dim_head=8, **shape).eval()
    schedule = {"pred_v": "sigmoid", "pred_noise": "linear", "pred_x0": "cosine"}[objective]
    diffusion = GaussianDiffusion(theirs, image_size=8, timesteps=100, objective=objective, beta_schedule=schedule)
    weights = {f"ema_model.{name}": tensor.clone() for name, tensor in diffusion.state_dict().items()}
    save_file(weights | {"initted": torch.tensor(True)}, tmp_path / "ema.safetensors")
    assert "does not say the size of its images" in refused(tmp_path / "ema.safetensors")
    run, said = import_it(tmp_path / "ema.safetensors", "--image-size", 8)
    assert f"the network predicts {run.config.diffusion.prediction}, as the weights of its loss say" in said
    assert run.config.diffusion.prediction == {"pred_v": "v", "pred_noise": "epsilon", "pred_x0": "x0"}[objective]
    model = load_model(run, "cpu", torch.float32)
    kept = model.schedule.alphas_cumprod.float()
    torch.testing.assert_close(kept, diffusion.alphas_cumprod, rtol=2e-3, atol=1e-7)
    x, t = X[:, : theirs.channels], torch.tensor([3, 70])
    torch.testing.assert_close(model.denoiser.network(x, t.float()), theirs(x, t), rtol=0, atol=1e-5)
    expected = diffusion.model_predictions(x, t, clip_x_start=True).pred_x_start
    torch.testing.assert_close(model.denoiser(x, t), expected, rtol=0, atol=1e-3)


KNOWN = {
    "EDM (NVlabs): a SongUNet": ["model.map_layer0.weight", "model.enc.8x8_conv.weight", "model.dec.8x8_aux_norm.weight"],
    "EDM (NVlabs): a DhariwalUNet": ["model.map_layer0.weight", "model.enc.8x8_conv.weight", "model.out_conv.weight"],
    "k-diffusion's image_v1": ["inner_model.timestep_embed.weight", "inner_model.u_net.d_blocks.0.0.main.0.weight"],
    "guided-diffusion": ["input_blocks.0.0.weight", "time_embed.0.weight"],
    "Stable Diffusion": ["model.diffusion_model.input_blocks.0.0.weight", "first_stage_model.encoder.conv_in.weight"],
    "score_sde": ["module.all_modules.0.W"],
    "DiT": ["x_embedder.proj.weight", "t_embedder.mlp.0.weight"],
    "LoRA": ["unet.down_blocks.0.attentions.0.to_q.lora_A.weight"],
    "UNet2DConditionModel": ["down_blocks.0.attentions.0.transformer_blocks.0.norm1.weight", "conv_in.weight"],
    "before version 2": ["model.init_conv.weight", "model.downs.0.0.block1.proj.weight", "model.final_conv.weight"],
    "a network that is not known (layer.bias, layer.weight)": ["layer.weight", "layer.bias"],
}


@pytest.mark.parametrize("name", KNOWN)
def test_layouts_that_cannot_be_imported_are_named(name, refused, tmp_path):
    save_file({key: torch.zeros(1) for key in KNOWN[name]}, tmp_path / "net.safetensors")
    assert name in refused(tmp_path / "net.safetensors")


class Boom:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


def zipped(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Boom()))


@pytest.mark.parametrize(
    "write", [zipped, lambda path: path.write_bytes(pickle.dumps(Boom())), lambda path: path.write_bytes(b"x")]
)
@pytest.mark.parametrize("name", ["net.CKPT", "net.pt", "net.safetensors", "diffusion_pytorch_model.bin"])
def test_pickles_are_never_opened(write, name, folder, refused, tmp_path):
    """By content and by ending in any case, alone and in a folder; a file of neither is damaged."""
    write(tmp_path / name)
    pickled = name != "net.safetensors" or (tmp_path / name).stat().st_size > 1
    for path in (tmp_path / name, folder):
        if path == folder:
            (folder / "unet" / WEIGHTS).unlink()
            (tmp_path / name).rename(folder / "unet" / name)
        said = refused(path, "--config", tmp_path / "none.json")
        assert "is not a valid safetensors file" in said if not pickled else "never from pickles; convert it once" in said
        if pickled:
            assert f'torch.load("{name}", map_location="cpu", weights_only=True)' in said
            assert "safetensors.torch.save_file(weights, " in said


def test_damaged_weights(folder, refused):
    file = folder / "unet" / WEIGHTS
    good = file.read_bytes()
    whole = load_file(file)
    first = min(whole)
    damages = {
        "is not a valid safetensors file": lambda: file.write_bytes(good[: len(good) // 2]),
        "is not a valid safetensors": lambda: file.write_bytes(good[:8] + b"{" + b"\xff" * 100),
        "contain NaN": lambda: save_file(whole | {first: whole[first] * torch.nan}, file),
        "of the type I64": lambda: save_file(whole | {first: whole[first].long()}, file),
        f"1 missing: unet.{first}": lambda: save_file({k: v for k, v in whole.items() if k != first}, file),
        "2 unexpected: unet.x, unet.y": lambda: save_file(whole | {"x": torch.ones(1), "y": torch.ones(1)}, file),
        "3 unexpected": lambda: save_file(whole | {name: torch.ones(1) for name in "abc"}, file),
        "contain NaN or infinite numbers": lambda: save_file(whole | {first: whole[first].double() * 1e300}, file),
    }
    for sentence, damage in damages.items():
        damage()
        assert sentence in refused(folder)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float64])
def test_weights_of_other_types(kind, small_unet, folder, import_it):
    edit_weights(folder / "unet" / WEIGHTS, lambda weights: {name: tensor.to(kind) for name, tensor in weights.items()})
    run, said = import_it(folder)
    assert f"weights of {str(kind).removeprefix('torch.')} are converted to float32" in said
    assert_the_network(run, small_unet, atol=1e-6 if kind == torch.float64 else 5e-2)


def test_a_scheduler_that_cannot_be_read_is_not_needed_where_everything_is_given(folder, import_it, refused):
    edit(folder / "scheduler" / "scheduler_config.json", _class_name="MyScheduler")
    assert "_class_name MyScheduler cannot be imported" in refused(folder)
    run, said = import_it(folder, *HAND)
    assert "the scheduler is not used" in said
    assert (run.config.diffusion.schedule, run.config.diffusion.prediction) == ("linear", "epsilon")
