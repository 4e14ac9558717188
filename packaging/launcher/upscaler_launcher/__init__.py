"""The launcher of the installed program: sets up its environment once, and starts it from there.

main.py         what happens at a start
recipe.py       what an environment consists of: the lock, the wheel, how it is checked and started
environments.py which environments there are, which of them can be trusted, and which is in use
building.py     the steps that make one, by uv
isolation.py    what of the user's own settings reaches these steps: nothing but the way to the network
window.py       the window of the first start and of updates; Qt
opening.py      the files that macOS sends to the launcher, on their way to the program; Qt

Nothing of upscaler is imported here: the launcher has to run before there is any of it, and whatever state it is in.
"""
