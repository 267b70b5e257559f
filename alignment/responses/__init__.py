"""What a VLM's answer says: response classifiers, shared by measurement and rewards."""
