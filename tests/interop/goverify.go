// goverify checks a trail directory with nothing of infertrail in it: Go's standard library and
// golang.org/x/mod/sumdb/{note,tlog} only. It reads checkpoint, tile/ and log.vkey, no segments.
//
// Usage:  goverify <vkey-file> <trail-dir> [older-checkpoint]
//
// It stops at the first thing that is wrong: one line "FAIL ...", exit status 1. Checked: the signature
// and origin of the checkpoint, every entry bundle to its last byte, every hash tile of every level byte
// by byte against what the entries give, the root; with an older checkpoint ROLLBACK and FORK.
//
// tlog.TileHashReader is not used: before x/mod 0.40 it skips checks of parent tiles (CVE-2026-56865).
//
// Build (Debian 12: golang-go, golang-golang-x-mod-dev):
//
//	GO111MODULE=off GOPATH=/usr/share/gocode go build -o goverify goverify.go
package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const width = 256

type checkpoint struct {
	size int64
	root tlog.Hash
}

// numberPath groups digits by three, all groups but the last begin with x.
func numberPath(n int64) string {
	path := fmt.Sprintf("%03d", n%1000)
	for n /= 1000; n > 0; n /= 1000 {
		path = fmt.Sprintf("x%03d/%s", n%1000, path)
	}
	return path
}

func filePath(folder string, number int64, have int) string {
	path := "tile/" + folder + "/" + numberPath(number)
	if have < width {
		path += ".p/" + strconv.Itoa(have)
	}
	return path
}

func openCheckpoint(file string, key note.Verifier) (checkpoint, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return checkpoint{}, err
	}
	signed, err := note.Open(text, note.VerifierList(key))
	if err != nil {
		return checkpoint{}, fmt.Errorf("%s: %w", file, err)
	}
	lines := strings.Split(signed.Text, "\n")
	if len(lines) != 4 || lines[3] != "" || lines[0] != key.Name() {
		return checkpoint{}, fmt.Errorf("%s: not a checkpoint of %s", file, key.Name())
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || strconv.FormatInt(size, 10) != lines[1] || size < 0 {
		return checkpoint{}, fmt.Errorf("%s: bad size %q", file, lines[1])
	}
	root, err := tlog.ParseHash(lines[2])
	return checkpoint{size, root}, err
}

// pair folds a list of hashes, a power of two of them, to their root.
func pair(hashes []tlog.Hash) tlog.Hash {
	for len(hashes) > 1 {
		var up []tlog.Hash
		for i := 0; i < len(hashes); i += 2 {
			up = append(up, tlog.NodeHash(hashes[i], hashes[i+1]))
		}
		hashes = up
	}
	return hashes[0]
}

// tree grows by leaf hashes and compares each hash tile with its file when it is complete.
type tree struct {
	dir    string
	size   int64
	peaks  []tlog.Hash   // roots of the perfect subtrees, largest first
	levels [][]tlog.Hash // of each level, the hashes of the tile being filled
	filled []int64       // of each level, the number of that tile
}

func (t *tree) compare(level int) error {
	path := filePath(strconv.Itoa(level), t.filled[level], len(t.levels[level]))
	got, err := os.ReadFile(filepath.Join(t.dir, path))
	if err != nil {
		return err
	}
	var want bytes.Buffer
	for _, hash := range t.levels[level] {
		want.Write(hash[:])
	}
	if !bytes.Equal(got, want.Bytes()) {
		return fmt.Errorf("%s differs from the entries", path)
	}
	return nil
}

func (t *tree) push(level int, hash tlog.Hash) error {
	if level == len(t.levels) {
		t.levels, t.filled = append(t.levels, nil), append(t.filled, 0)
	}
	t.levels[level] = append(t.levels[level], hash)
	if len(t.levels[level]) < width {
		return nil
	}
	if err := t.compare(level); err != nil {
		return err
	}
	up := pair(t.levels[level])
	t.levels[level] = nil
	t.filled[level]++
	return t.push(level+1, up)
}

func (t *tree) add(entry []byte) error {
	hash := tlog.RecordHash(entry)
	peak := hash
	for n := t.size; n&1 == 1; n >>= 1 {
		peak = tlog.NodeHash(t.peaks[len(t.peaks)-1], peak)
		t.peaks = t.peaks[:len(t.peaks)-1]
	}
	t.peaks = append(t.peaks, peak)
	t.size++
	return t.push(0, hash)
}

func (t *tree) root() tlog.Hash {
	root := t.peaks[len(t.peaks)-1]
	for i := len(t.peaks) - 2; i >= 0; i-- {
		root = tlog.NodeHash(t.peaks[i], root)
	}
	return root
}

// bundle adds the entries of one bundle file, which must hold exactly `have` of them.
func (t *tree) bundle(have int, each func() error) error {
	path := filePath("entries", t.size/width, have)
	data, err := os.ReadFile(filepath.Join(t.dir, path))
	if err != nil {
		return err
	}
	for i := 0; i < have; i++ {
		if len(data) < 2 || len(data)-2 < int(binary.BigEndian.Uint16(data)) {
			return fmt.Errorf("%s is cut off", path)
		}
		end := 2 + int(binary.BigEndian.Uint16(data))
		if err := t.add(data[2:end]); err != nil {
			return err
		}
		if err := each(); err != nil {
			return err
		}
		data = data[end:]
	}
	if len(data) != 0 {
		return fmt.Errorf("%s has %d bytes too many", path, len(data))
	}
	return nil
}

func verify(vkeyFile, dir, olderFile string) (string, error) {
	text, err := os.ReadFile(vkeyFile)
	if err != nil {
		return "", err
	}
	key, err := note.NewVerifier(strings.TrimSuffix(string(text), "\n"))
	if err != nil {
		return "", fmt.Errorf("%s: %w", vkeyFile, err)
	}
	now, err := openCheckpoint(filepath.Join(dir, "checkpoint"), key)
	if err != nil {
		return "", err
	}
	older := checkpoint{size: -1}
	if olderFile != "" {
		if older, err = openCheckpoint(olderFile, key); err != nil {
			return "", err
		}
	}
	if older.size > now.size {
		return "", fmt.Errorf("ROLLBACK: the log has %d entries, the older checkpoint %d", now.size, older.size)
	}
	t := &tree{dir: dir}
	for t.size < now.size {
		have := width
		if now.size-t.size < width {
			have = int(now.size - t.size)
		}
		err := t.bundle(have, func() error {
			if t.size == older.size && t.root() != older.root {
				return fmt.Errorf("FORK: another root at %d entries than the older checkpoint", t.size)
			}
			return nil
		})
		if err != nil {
			return "", err
		}
	}
	for level := range t.levels {
		if len(t.levels[level]) > 0 {
			if err := t.compare(level); err != nil {
				return "", err
			}
		}
	}
	if now.size > 0 && t.root() != now.root {
		return "", errors.New("the root is not the checkpoint's")
	}
	return fmt.Sprintf("OK size %d root %s", now.size, now.root), nil
}

func main() {
	if len(os.Args) < 3 || len(os.Args) > 4 {
		fmt.Fprintln(os.Stderr, "usage: goverify <vkey-file> <trail-dir> [older-checkpoint]")
		os.Exit(2)
	}
	older := ""
	if len(os.Args) == 4 {
		older = os.Args[3]
	}
	said, err := verify(os.Args[1], os.Args[2], older)
	if err != nil {
		fmt.Println("FAIL", err)
		os.Exit(1)
	}
	fmt.Println(said)
}
