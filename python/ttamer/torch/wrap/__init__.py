"""Networks of other libraries cut into stages: Hugging Face encoders, vision networks of timm and torchvision.

Nothing of these libraries is imported: what is cut is the model that the caller has.
"""
