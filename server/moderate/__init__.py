"""``sightward moderate``: judge the pictures in files and folders, from a shell or in CI."""
