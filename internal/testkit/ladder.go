package testkit

import (
	"bytes"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tandem/internal/voice/phone"
)

// update makes AssertLadder and AssertGolden write what they got. A test package that
// imports testkit must not define a flag of this name.
var update = flag.Bool("update", false, "write golden files instead of comparing")

// A Leg is one phone's dialogs with Tandem: its column, and all that it sent and
// received, as phone.Call.Ladder gives it.
type Leg struct {
	Name  string         // "A"
	Addr  netip.AddrPort // SIP address of the phone
	Steps []phone.Step
}

// A Chart is a call flow: the messages of all legs, drawn as arrows to and from
// Tandem in the middle, and in full what Tandem sent, but for digits that are pressed.
// Retransmissions are left out, and all that differs from run to run is given a stable name.
type Chart struct {
	Title, Text string
	Tandem      []netip.AddrPort // SIP addresses
	Legs        []Leg            // the caller first
	Asked       bool             // the caller was asked for a PIN before anybody was rung
	Joined      bool             // two of the phones call each other
}

// AssertLadder compares a chart with docs/ladders/<name>.md, or with -update writes it.
func AssertLadder(t testing.TB, name string, c Chart) {
	t.Helper()
	AssertGolden(t, filepath.Join("docs", "ladders", name+".md"), []byte(c.Markdown()))
}

// AssertGolden compares got with a file, named from the folder of go.mod, or with -update
// writes it.
func AssertGolden(t testing.TB, path string, got []byte) {
	t.Helper()
	path = filepath.Join(moduleRoot(t), path)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if err := compare(path, got); err != nil {
		t.Errorf("%v\n(to take it as it is now, run the test with -update and look at the difference)", err)
	}
}

// compare reports where got differs from a file.
func compare(path string, got []byte) error {
	want, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%s differs:\n%s", path, firstDifference(want, got))
	}
	return nil
}

func moduleRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the test's folder")
		}
		dir = filepath.Dir(dir)
	}
}

// firstDifference shows where two texts part, with what is around.
func firstDifference(want, got []byte) string {
	w, g := strings.Split(string(want), "\n"), strings.Split(string(got), "\n")
	i := 0
	for i < len(w) && i < len(g) && w[i] == g[i] {
		i++
	}
	around := func(lines []string) string {
		return strings.Join(lines[max(0, min(i, len(lines))-3):min(len(lines), i+4)], "\n")
	}
	return fmt.Sprintf("--- want, line %d\n%s\n--- got\n%s", i+1, around(w), around(g))
}

// An arrow is one message in the order of the chart.
type arrow struct {
	leg  int
	step phone.Step
}

// Markdown draws the chart.
func (c Chart) Markdown() string {
	arrows := merge(c.Legs, c.Asked, c.Joined)
	names := newNames(c)
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n%s\n\n```\n", c.Title, strings.TrimSpace(c.Text))
	c.draw(&b, arrows)
	b.WriteString("```\n\n## What Tandem sent\n")
	for _, a := range arrows {
		text := names.message(c.Legs[a.leg].Name, a.step) // names are given in order, to all messages
		if !a.step.Out {
			fmt.Fprintf(&b, "\nTo %s:\n\n```\n%s```\n", c.Legs[a.leg].Name, text)
		}
	}
	return b.String()
}

const columnWidth = 32

// draw writes one line for each message.
func (c Chart) draw(b *strings.Builder, arrows []arrow) {
	columns := []string{c.Legs[0].Name, "Tandem"}
	for _, l := range c.Legs[1:] {
		columns = append(columns, l.Name)
	}
	line := []byte(strings.Repeat(" ", columnWidth*len(columns)))
	for i, name := range columns {
		copy(line[i*columnWidth:], name)
	}
	b.WriteString(strings.TrimRight(string(line), " ") + "\n")
	for _, a := range arrows {
		from, to := 0, 1
		if a.leg > 0 {
			from = a.leg + 1
		}
		if !a.step.Out {
			from, to = to, from
		}
		b.WriteString(drawArrow(len(columns), from, to, label(a.step)) + "\n")
	}
}

func drawArrow(columns, from, to int, label string) string {
	line := []byte(strings.Repeat(" ", columnWidth*(columns-1)+1))
	for i := range columns {
		line[i*columnWidth] = '|'
	}
	left, right := min(from, to)*columnWidth+1, max(from, to)*columnWidth
	for i := left; i < right; i++ {
		line[i] = '-'
	}
	text := " " + label + " "
	text = text[:min(len(text), right-left-4)]
	copy(line[left+2:], text)
	if from < to {
		line[right-1] = '>'
	} else {
		line[left] = '<'
	}
	return string(line)
}

// label is the start line without what differs: method, or status and method.
func label(s phone.Step) string {
	text := method(s)
	if code := status(s); code != "" {
		text = code + " " + method(s)
	}
	if describes(s) {
		text += " (SDP)"
	}
	if s.Digit() {
		text += " (digit)"
	}
	return text
}

// describes reports whether a message holds a session description.
func describes(s phone.Step) bool {
	_, body, _ := bytes.Cut(s.Raw, []byte("\r\n\r\n"))
	return bytes.HasPrefix(body, []byte("v=0"))
}

// method is that of a request, or in the CSeq of a response.
func method(s phone.Step) string {
	_, m, _ := strings.Cut(s.CSeq, " ")
	return strings.TrimSpace(m)
}

// status is the code of a response, "" for a request.
func status(s phone.Step) string {
	rest, ok := strings.CutPrefix(s.Line, "SIP/2.0 ")
	if !ok {
		return ""
	}
	code, _, _ := strings.Cut(rest, " ")
	return code
}
