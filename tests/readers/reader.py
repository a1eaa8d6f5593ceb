"""An upstream in Python that says which model it reads in a request, by Flask: a form's, else that
of a JSON body, whatever its type says."""

import logging
import sys

from flask import Flask, jsonify, request

app = Flask(__name__)
logging.getLogger("werkzeug").setLevel(logging.ERROR)
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


@app.route("/", defaults={"path": ""}, methods=METHODS)
@app.route("/<path:path>", methods=METHODS)
def read(path):
    model = request.form.get("model")
    if model is None:
        body = request.get_json(force=True, silent=True)
        model = body.get("model") if isinstance(body, dict) else None
    return jsonify(reader="flask", model=model)


app.run("127.0.0.1", int(sys.argv[1]), threaded=True)
