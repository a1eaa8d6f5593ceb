// An upstream in Go that says which model it reads in a request: a form's by FormValue, which looks
// in the query too, else that of a JSON body.
package main

import (
	"encoding/json"
	"mime"
	"net/http"
	"os"
)

func model(r *http.Request) any {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind == "multipart/form-data" || kind == "application/x-www-form-urlencoded" {
		if value := r.FormValue("model"); value != "" {
			return value
		}
		return nil
	}
	var body struct {
		Model any `json:"model"`
	}
	if json.NewDecoder(r.Body).Decode(&body) != nil {
		return nil
	}
	return body.Model
}

func main() {
	handler := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"reader": "go", "model": model(r)})
	}
	if err := http.ListenAndServe("127.0.0.1:"+os.Args[1], http.HandlerFunc(handler)); err != nil {
		panic(err)
	}
}
