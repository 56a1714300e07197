"""By itself, and as an agent of Homeport."""

import os

import uvicorn
from echo import app

uvicorn.run(app, host=os.environ.get("HOST", "127.0.0.1"), port=int(os.environ["PORT"]), log_level="warning")
