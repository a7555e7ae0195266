"""A page that turns one photo into an avatar: for Hugging Face Spaces, or ``python app.py`` on your own machine."""

import tempfile
from contextlib import contextmanager
from pathlib import Path

import gradio as gr

import avatarkit

PRESETS = ["instant", "draft"]
MOTIONS = ["wave", "talk", "turn", "count", "expressions"]
HOUR = 3600  # seconds
PRIVACY = "The photo is sent to the machine that runs this page, which deletes it and all that is made from it within two hours."


class PageProgress:
    """Shows the stages of a build in the page."""

    def __init__(self, show):
        self.show, self.name = show, ""

    @contextmanager
    def stage(self, name):
        self.name = name
        self.update("", 0.0)
        yield

    def update(self, message, fraction=None):
        self.show(fraction, desc=f"{self.name}: {message}" if message else self.name)


def build(photo, consent, preset, motion, show=gr.Progress()):
    """Give the avatar as a mesh that the page shows, a film, and files to keep. They are deleted once the page has them."""
    if not photo:
        raise gr.Error("Choose a photo of one person, from the front.")
    if not consent.strip():
        raise gr.Error("Write what the person in the photo agreed to, for example: Ada agreed to a private avatar.")
    with tempfile.TemporaryDirectory() as folder:
        progress = PageProgress(show)
        try:
            path = avatarkit.build(photo, Path(folder, "mine.avatar"), preset=preset, consent=consent.strip(), progress=progress)
            avatar = avatarkit.load(path)
            film = avatar.animate(motion, size=avatar.default_size(480), fps=15).save(Path(folder, "avatar.mp4"), progress)
            show(None, desc="files")
            mesh = avatar.export("glb", Path(folder, "avatar.glb"), motion=motion)
            page = avatar.export("web", Path(folder, "avatar.html"), motions=motion)
        except avatarkit.AvatarkitError as error:
            raise gr.Error(str(error)) from error
        yield str(mesh), str(film), [str(mesh), str(page)]


with gr.Blocks(title="avatarkit", delete_cache=(HOUR, HOUR)) as app:
    gr.Markdown(f"# One photo in, a 3D avatar out\n\n{PRIVACY}")
    with gr.Row():
        with gr.Column():
            photo = gr.Image(
                type="filepath", format="png", sources=["upload", "webcam"], label="Photo of one person, from the front"
            )
            consent = gr.Textbox(label="What did the person agree to?", info="It is stored in the avatar.")
            preset = gr.Radio(PRESETS, value=PRESETS[0], label="Quality", info="instant: a minute; draft: several.")
            motion = gr.Dropdown(MOTIONS, value=MOTIONS[0], label="Motion")
            start = gr.Button("Make the avatar", variant="primary")
        with gr.Column():
            model = gr.Model3D(label="Avatar")
            video = gr.Video(label="In motion", autoplay=True, loop=True)
            files = gr.File(label="For other programs (GLB), and a page that needs no server")
    start.click(build, [photo, consent, preset, motion], [model, video, files], concurrency_limit=1)

if __name__ == "__main__":
    app.launch()
