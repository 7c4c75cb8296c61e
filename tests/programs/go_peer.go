// A Go program to watch: one end of HTTPS connections by net/http and crypto/tls, or of plain TLS
// connections that read into arrays on the goroutine's stack. Says what it moved, as peer.c does.
//
//	go_peer role=server [gate=0] [stack=1 conns=N] [wrap=1] [raw=1] [cert=FILE key=FILE]
//	go_peer role=client port=P [conns=N] [rounds=N] [requests=N] [request=BYTES] [response=BYTES] [stack=1] [wrap=1] [raw=1]
//
// raw=1: only the sockets are closed, the tls.Conns around them are dropped. rounds=N: `conns` connections again
// and again, so that addresses of what was dropped are used again.
//
// A server answers POST /?n=BYTES with as many bytes and the SHA-256 of the request's body, until its second
// gate; with stack=1 it takes `conns` connections. A client makes `conns` connections at once, each with
// `requests` requests one after the other, and checks both hashes.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
	"unsafe"
)

var options = map[string]string{"conns": "1", "requests": "1", "request": "100", "response": "100", "gate": "1", "rounds": "1"}

func number(name string) int {
	n, err := strconv.Atoi(options[name])
	check(err)
	return n
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "go_peer:", err)
		os.Exit(1)
	}
}

var stdin = bufio.NewReader(os.Stdin)
var gates sync.Mutex

func gate() {
	if options["gate"] == "1" {
		gates.Lock()
		defer gates.Unlock()
		stdin.ReadString('\n')
	}
}

// --- what a connection moved ---------------------------------------------------------------------------

type counted struct {
	*tls.Conn
	in, out   hash.Hash
	nin, nout int
	once      sync.Once
	over      *sync.WaitGroup
	mutex     sync.Mutex   // readers and writers run at once
	flight    sync.RWMutex // the telling waits for calls that another goroutine's Close ends
}

func count(conn *tls.Conn, over *sync.WaitGroup) *counted {
	over.Add(1)
	return &counted{Conn: conn, in: sha256.New(), out: sha256.New(), over: over}
}

func (c *counted) Read(b []byte) (int, error) {
	c.flight.RLock()
	defer c.flight.RUnlock()
	n, err := c.Conn.Read(b)
	c.mutex.Lock()
	c.in.Write(b[:n])
	c.nin += n
	c.mutex.Unlock()
	return n, err
}

func (c *counted) Write(b []byte) (int, error) {
	c.flight.RLock()
	defer c.flight.RUnlock()
	n, err := c.Conn.Write(b)
	c.mutex.Lock()
	c.out.Write(b[:n])
	c.nout += n
	c.mutex.Unlock()
	return n, err
}

func port(address net.Addr) string {
	return address.String()[strings.LastIndex(address.String(), ":")+1:]
}

func (c *counted) Close() error {
	var err error
	if options["raw"] == "1" {
		err = c.Conn.NetConn().Close()
	} else {
		err = c.Conn.Close()
	}
	go c.once.Do(func() {
		c.flight.Lock()
		defer c.flight.Unlock()
		fmt.Printf("conn pid=%d ssl=%p local=%s remote=%s in=%d in_sha=%s out=%d out_sha=%s\n", os.Getpid(), c.Conn,
			port(c.LocalAddr()), port(c.RemoteAddr()), c.nin, hex.EncodeToString(c.in.Sum(nil)), c.nout,
			hex.EncodeToString(c.out.Sum(nil)))
		c.over.Done()
	})
	return err
}

// A net.Conn that is no *net.TCPConn, as programs with their own listeners have.
type wrapped struct {
	net.Conn
	note string
}

func inner(conn net.Conn) net.Conn {
	if options["wrap"] == "1" {
		return &wrapped{conn, "x"}
	}
	return conn
}

// --- the server ----------------------------------------------------------------------------------------

func certificate() tls.Certificate {
	if options["cert"] != "" {
		pair, err := tls.LoadX509KeyPair(options["cert"], options["key"])
		check(err)
		return pair
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	template := x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	check(err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func pattern(n int, seed int) []byte {
	out := make([]byte, n)
	for i := range out {
		out[i] = byte(i*7 + i>>8 + i>>16 + seed)
	}
	return out
}

func answer(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	sum := sha256.Sum256(body)
	n, _ := strconv.Atoi(r.URL.Query().Get("n"))
	w.Header().Set("X-Sha", hex.EncodeToString(sum[:]))
	if r.URL.Query().Get("type") != "" {
		w.Header().Set("Content-Type", r.URL.Query().Get("type"))
	}
	w.Header().Set("Content-Length", strconv.Itoa(n))
	w.Write(pattern(n, 3))
}

type listener struct {
	net.Listener
	config *tls.Config
}

func (l *listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return count(tls.Server(inner(conn), l.config), &over), nil
}

func serve() {
	config := &tls.Config{Certificates: []tls.Certificate{certificate()}}
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	fmt.Printf("ready port=%s\n", port(raw.Addr()))
	gate()
	if options["stack"] == "1" {
		for i := 0; i < number("conns"); i++ {
			conn, err := raw.Accept()
			check(err)
			over.Add(1)
			go func() {
				echo(tls.Server(inner(conn), config))
				over.Done()
			}()
		}
		over.Wait()
		return
	}
	// net/http closes a connection whose request was slow to be written and makes another: as many as come.
	go http.Serve(&listener{raw, config}, http.HandlerFunc(answer))
	if options["gate"] == "0" {
		select {} // until it is ended
	}
	gate()
	raw.Close()
}

var over sync.WaitGroup

// --- reads into the goroutine's stack --------------------------------------------------------------------

// The compiler would put the arrays below on the heap, because Read and Write do not promise not to keep
// them; but it must not know (strings.Builder does the same).
//
//go:nosplit
func hidden(array unsafe.Pointer, n int) []byte {
	address := uintptr(array)
	return unsafe.Slice((*byte)(unsafe.Pointer(address^0)), n)
}

// The handshake runs inside the first call, deep below these arrays: a goroutine begins with a few KiB of
// stack, so the stack grows and moves while the call has a pointer into it.
func onStack(conn *tls.Conn, first []byte, until int) (in, out hash.Hash, nin int) {
	in, out = sha256.New(), sha256.New()
	if first != nil {
		var copied [700]byte
		n, err := conn.Write(hidden(unsafe.Pointer(&copied), copy(copied[:], first)))
		check(err)
		out.Write(hidden(unsafe.Pointer(&copied), n))
	}
	for nin < until {
		var buffer [900]byte
		n, err := conn.Read(hidden(unsafe.Pointer(&buffer), len(buffer)))
		in.Write(hidden(unsafe.Pointer(&buffer), n))
		nin += n
		if err != nil {
			break
		}
	}
	return
}

func tellStack(conn *tls.Conn, in, out hash.Hash, nin, nout int) {
	conn.Close()
	fmt.Printf("conn pid=%d ssl=%p local=%s remote=%s in=%d in_sha=%s out=%d out_sha=%s\n", os.Getpid(), conn,
		port(conn.LocalAddr()), port(conn.RemoteAddr()), nin, hex.EncodeToString(in.Sum(nil)), nout,
		hex.EncodeToString(out.Sum(nil)))
}

func echo(conn *tls.Conn) {
	in, _, nin := onStack(conn, nil, 600)
	out := sha256.New()
	text := pattern(5000, 9)
	_, err := conn.Write(text)
	check(err)
	out.Write(text)
	tellStack(conn, in, out, nin, 5000)
}

func ask(conn *tls.Conn) {
	in, out, nin := onStack(conn, pattern(600, 5), 5000)
	tellStack(conn, in, out, nin, 600)
}

// --- the client ----------------------------------------------------------------------------------------

func dial() *tls.Conn {
	conn, err := net.Dial("tcp", "127.0.0.1:"+options["port"])
	check(err)
	return tls.Client(inner(conn), &tls.Config{InsecureSkipVerify: true})
}

func client() {
	fmt.Println("ready port=0")
	gate()
	for round := 0; round < number("rounds"); round++ {
		connections()
		if round+1 < number("rounds") {
			over.Wait()
			runtime.GC()
		}
	}
}

func connections() {
	var all sync.WaitGroup
	for i := 0; i < number("conns"); i++ {
		all.Add(1)
		go func(i int) {
			defer all.Done()
			if options["stack"] == "1" {
				ask(dial())
				return
			}
			requests(i)
		}(i)
	}
	all.Wait()
}

func requests(i int) {
	// One connection of its own: DialTLSContext gives http what counts.
	transport := &http.Transport{DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
		return count(dial(), &over), nil
	}, DisableCompression: true, MaxConnsPerHost: 1}
	c := &http.Client{Transport: transport}
	for k := 0; k < number("requests"); k++ {
		body := pattern(number("request"), i+k)
		sum := sha256.Sum256(body)
		url := fmt.Sprintf("https://127.0.0.1:%s/?n=%s&i=%d&k=%d", options["port"], options["response"], i, k)
		response, err := c.Post(url, "application/octet-stream", bytes.NewReader(body))
		check(err)
		got, err := io.ReadAll(response.Body)
		check(err)
		response.Body.Close()
		if !bytes.Equal(got, pattern(number("response"), 3)) || response.Header.Get("X-Sha") != hex.EncodeToString(sum[:]) {
			check(fmt.Errorf("connection %d request %d: the bodies differ", i, k))
		}
		if k == 0 && options["pause"] == "1" {
			fmt.Println("part 1")
			gate()
		}
	}
	transport.CloseIdleConnections()
}

func main() {
	for _, argument := range os.Args[1:] {
		name, value, _ := strings.Cut(argument, "=")
		options[name] = value
	}
	if options["role"] == "server" {
		serve()
	} else {
		client()
	}
	over.Wait()
	fmt.Println("done")
	stdin.ReadString('\n') // until the test has looked
}
