"""What can be wrong with an input, from its header alone: findings and their policies, limits on sizes, headers of volume files."""
