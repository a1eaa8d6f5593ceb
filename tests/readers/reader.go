// An upstream in Go that says which model and size it reads in a request: a form's by FormValue,
// which looks in the query too, else those of a JSON body.
package main

import (
	"encoding/json"
	"mime"
	"net/http"
	"os"
)

func read(r *http.Request) map[string]any {
	found := map[string]any{"reader": "go", "model": nil, "size": nil}
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind == "multipart/form-data" || kind == "application/x-www-form-urlencoded" {
		for _, name := range []string{"model", "size"} {
			if value := r.FormValue(name); value != "" {
				found[name] = value
			}
		}
		return found
	}
	var body struct {
		Model any `json:"model"`
		Size  any `json:"size"`
	}
	if json.NewDecoder(r.Body).Decode(&body) == nil {
		found["model"], found["size"] = body.Model, body.Size
	}
	return found
}

func main() {
	handler := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(read(r))
	}
	if err := http.ListenAndServe("127.0.0.1:"+os.Args[1], http.HandlerFunc(handler)); err != nil {
		panic(err)
	}
}
