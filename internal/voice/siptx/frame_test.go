package siptx

import (
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// cut feeds a stream in pieces that end at the given offsets, and returns the
// messages, "ping" for each keep-alive, and "broken" at the end if it came to that.
func cut(stream string, at ...int) []string {
	var f framer
	var got []string
	from := 0
	for _, to := range append(at, len(stream)) {
		for piece := stream[from:to]; piece != ""; {
			n := copy(f.room(), piece)
			f.filled(n)
			piece = piece[n:]
			for done := false; !done; {
				msg, kind := f.next()
				switch kind {
				case frameMore:
					done = true
				case framePing:
					got = append(got, "ping")
				case frameBroken:
					return append(got, "broken")
				case frameMessage:
					got = append(got, string(msg))
				}
			}
		}
		from = to
	}
	return got
}

func withBody(body string) string {
	return with("Content-Length", "Content-Length: "+strconv.Itoa(len(body))) + body
}

func TestAStreamIsCutTheSameHoweverItArrives(t *testing.T) {
	a, b, c := withBody("hello"), withBody(""), strings.Replace(withBody("x\r\n\r\ny"), "Content-Length: 6", "L :\r\n  6", 1)
	stream := "\r\n" + a + b + "\r\n\r\n" + c + "\r\n\r\n\r\n\r\n" + a
	want := []string{a, b, "ping", c, "ping", "ping", a}
	check := func(got []string) bool { return strings.Join(got, "|") == strings.Join(want, "|") }
	if got := cut(stream); !check(got) {
		t.Fatalf("in one piece: %q", got)
	}
	for i := range stream {
		if got := cut(stream, i); !check(got) {
			t.Fatalf("split at %d: %q", i, got)
		}
	}
	every := make([]int, len(stream))
	for i := range every {
		every[i] = i
	}
	if got := cut(stream, every...); !check(got) {
		t.Fatalf("byte by byte: %q", got)
	}
	rapid.Check(t, func(t *rapid.T) {
		x := rapid.IntRange(0, len(stream)).Draw(t, "x")
		y := rapid.IntRange(x, len(stream)).Draw(t, "y")
		if got := cut(stream, x, y); !check(got) {
			t.Fatalf("%q", got)
		}
	})
}

func TestAStreamThatLosesItsBoundariesIsBroken(t *testing.T) {
	for name, m := range map[string]string{
		"no Content-Length":       with("Content-Length", ""),
		"negative Content-Length": with("Content-Length", "Content-Length: -1"),
		"two Content-Lengths":     with("Subject", "Content-Length: 3"),
		"a word":                  with("Content-Length", "Content-Length: five"),
		"too long a message":      with("Content-Length", "Content-Length: 65536"),
		"too long a head":         with("Subject", "Subject: "+strings.Repeat("x", maxHead)),
		"a head without end":      "OPTIONS " + strings.Repeat("x", maxHead),
		"head folded at its end":  "X: y\r\n \r\n\r\n",
	} {
		if got := cut(withBody("a") + m); len(got) != 2 || got[1] != "broken" {
			t.Errorf("%s: %.200q", name, got)
		}
	}
	if got := cut(withBody(strings.Repeat("x", 60000))); len(got) != 1 || len(got[0]) < 60000 {
		t.Errorf("a long message: %d", len(got))
	}
}
