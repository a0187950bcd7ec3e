"""Images from registries and to them (OCI distribution-spec 1.1; Docker's registry API v2).

What comes from a registry is hostile until its digest has been checked: bodies are bounded,
credentials go to nobody but the host they are for, a blob counts once it is whole.
"""
