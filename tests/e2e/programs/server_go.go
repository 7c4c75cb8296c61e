// server_go PORT [KEY CERT]: net/http, with crypto/tls when there is a key.
package main

import (
	"bytes"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
)

func answer(path, name string) []byte {
	size, err := strconv.Atoi(strings.TrimPrefix(path, "/x/"))
	if err != nil {
		log.Fatal(err)
	}
	unit := []byte(name)
	for i, j := 0, len(unit)-1; i < j; i, j = i+1, j-1 {
		unit[i], unit[j] = unit[j], unit[i]
	}
	unit = append(unit, '\n')
	return bytes.Repeat(unit, size/len(unit)+1)[:size]
}

func main() {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		w.Write(answer(r.URL.Path, r.URL.RawQuery))
	})
	address := "127.0.0.1:" + os.Args[1]
	if len(os.Args) > 3 {
		log.Fatal(http.ListenAndServeTLS(address, os.Args[3], os.Args[2], handler))
	}
	log.Fatal(http.ListenAndServe(address, handler))
}
