"""What nobody owns: finds it, says why, removes what is safe to remove. `homeport gc` runs it as a program."""
