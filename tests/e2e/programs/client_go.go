// client_go: net/http's client. order.py has the arguments.
package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

type line struct {
	Path    string `json:"path"`
	Sure    bool   `json:"sure"`
	Port    int    `json:"port"`
	Pid     int    `json:"pid"`
	Request string `json:"request"`
	Answer  string `json:"answer"`
}

var (
	base, tag             string
	requestMax, answerMax int
	midlife               bool
	attached              int32
	out                   sync.Mutex
	answered              = map[int]bool{}
	workers               int
)

func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		log.Fatal(err)
	}
	return n
}

func sizes(name string) (int, int) {
	if strings.HasSuffix(name, "-w0-c0-r0") {
		return requestMax, answerMax
	}
	share := sha256.Sum256([]byte(name))
	return 1 + requestMax*int(share[0])/255, 1 + answerMax*int(share[1])/255
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func call(client *http.Client, worker int, name string, sure bool) {
	size, wanted := sizes(name)
	unit := []byte(name + " ")
	body := bytes.Repeat(unit, size/len(unit)+1)[:size]
	path := fmt.Sprintf("/x/%d?%s", wanted, name)
	answer, err := client.Post(base+path, "text/plain", bytes.NewReader(body))
	if err != nil {
		log.Fatal(err)
	}
	content, err := io.ReadAll(answer.Body)
	answer.Body.Close()
	if err != nil || answer.StatusCode != 200 {
		log.Fatal(answer.StatusCode, err)
	}
	text, _ := json.Marshal(line{path, sure, number(answer.Header.Get("x-port")), os.Getpid(), digest(body), digest(content)})
	out.Lock()
	defer out.Unlock()
	os.Stdout.Write(append(text, '\n'))
	if midlife && !answered[worker] {
		answered[worker] = true
		if len(answered) == workers {
			os.Stdout.Write([]byte("busy\n"))
		}
	}
}

func work(worker, connections, each int) {
	for connection := 0; connection < connections; connection++ {
		transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableCompression: true}
		client := &http.Client{Transport: transport}
		name := func(what string) string { return fmt.Sprintf("%s-w%d-c%d-%s", tag, worker, connection, what) }
		for n := 0; midlife && atomic.LoadInt32(&attached) == 0; n++ {
			call(client, worker, name(fmt.Sprintf("early%d", n)), false)
		}
		if midlife {
			call(client, worker, name("settle"), false)
		}
		for n := 0; n < each; n++ {
			call(client, worker, name(fmt.Sprintf("r%d", n)), true)
		}
		transport.CloseIdleConnections()
	}
}

func main() {
	base, tag = os.Args[1], os.Args[5]
	workers = number(os.Args[2])
	requestMax, answerMax = number(os.Args[6]), number(os.Args[7])
	midlife = os.Args[8] == "1"
	if midlife {
		go func() {
			bufio.NewReader(os.Stdin).ReadString('\n')
			atomic.StoreInt32(&attached, 1)
		}()
	}
	var all sync.WaitGroup
	for worker := 0; worker < workers; worker++ {
		all.Add(1)
		go func(worker int) {
			defer all.Done()
			work(worker, number(os.Args[3]), number(os.Args[4]))
		}(worker)
	}
	all.Wait()
}
