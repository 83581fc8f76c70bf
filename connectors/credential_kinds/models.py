"""Keys of those who run language models. Listing the models is free and needs nothing but a good key."""

from connectors.credential_kinds.base import ApiKey, bearer

ALL = (
    ApiKey("openai", "OpenAI", "OPENAI_API_KEY", url="https://api.openai.com/v1/models", headers=bearer),
    ApiKey(
        "anthropic",
        "Anthropic",
        "ANTHROPIC_API_KEY",
        url="https://api.anthropic.com/v1/models",
        headers=lambda token: {"x-api-key": token, "anthropic-version": "2023-06-01"},
    ),
    ApiKey(
        "gemini",
        "Gemini",
        "GEMINI_API_KEY",
        "GOOGLE_API_KEY",
        url="https://generativelanguage.googleapis.com/v1beta/models",
        headers=lambda token: {"x-goog-api-key": token},
        rejected=(400, 401),
    ),
    ApiKey("mistral", "Mistral", "MISTRAL_API_KEY", url="https://api.mistral.ai/v1/models", headers=bearer),
    ApiKey(
        "huggingface",
        "Hugging Face",
        "HF_TOKEN",
        "HUGGINGFACE_TOKEN",
        "HUGGING_FACE_HUB_TOKEN",
        url="https://huggingface.co/api/whoami-v2",
        headers=bearer,
        account=("name",),
    ),
)
