"""What all tests share."""

from hypothesis import settings

# No deadline: a machine that is shared may take its time.
settings.register_profile("taskstream", deadline=None, max_examples=100)
settings.register_profile("thorough", deadline=None, max_examples=3000)
settings.load_profile("taskstream")  # --hypothesis-profile=thorough goes before
