"""Public facts about devices: which names, ports, groups, texts and MAC prefixes belong to which vendor or kind."""
