"""The measure of all ratios: a bare Flask application with one JSON view and nothing else."""

from flask import Flask, Response, jsonify

app = Flask(__name__)


@app.get("/json")
def hello() -> Response:
    return jsonify(hello="world", n=1)
