"""Knowledge of a large language model about items and users: prompts, teachers, answers and their files."""
