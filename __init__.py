"""Clinical ModernBERT: pretraining of long-context clinical and biomedical encoders."""

__version__ = "0.1.0"
