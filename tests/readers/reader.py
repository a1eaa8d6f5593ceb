"""An upstream in Python that says which model and size it reads in a request, by Flask: a form's,
else those of a JSON body, whatever its type says."""

import logging
import sys

from flask import Flask, jsonify, request

app = Flask(__name__)
logging.getLogger("werkzeug").setLevel(logging.ERROR)
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


@app.route("/", defaults={"path": ""}, methods=METHODS)
@app.route("/<path:path>", methods=METHODS)
def read(path):
    fields = request.form
    if fields.get("model") is None:
        body = request.get_json(force=True, silent=True)
        fields = body if isinstance(body, dict) else {}
    return jsonify(reader="flask", model=fields.get("model"), size=fields.get("size"))


app.run("127.0.0.1", int(sys.argv[1]), threaded=True)
