package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"tandem/internal/client"
)

// callShow is "tandem call show": the same as "tandem calls show", where who has just
// placed a call looks for it.
func (p *program) callShow() *cobra.Command {
	g := p.api("show", "")
	show := g.show()
	g.cmd.RemoveCommand(show)
	show.Flags().AddFlagSet(g.cmd.PersistentFlags())
	return show
}

// show draws one call.
func (g *apiGroup) show() *cobra.Command {
	return g.add(verb{use: "show CALL_SID", args: exactly("CALL_SID"), draw: drawCall,
		short:   "Show a call and draw its SIP ladder (with only an admin token: as the operator, numbers hidden)",
		example: "  tandem call show call_01J9Z3K8Q2 -o json",
		run: func(ctx context.Context, s *session, args []string) error {
			if s.operates() && s.to.Token == "" {
				_, err := s.AnyCall(ctx, args[0])
				return err
			}
			tenant, err := s.asTenant()
			if err == nil {
				_, err = s.Call(ctx, tenant, args[0])
			}
			return err
		}})
}

// drawCall writes a call's record, its legs and its ladder.
func drawCall(w io.Writer, response json.RawMessage) error {
	fields, err := fieldsOf(response)
	if err != nil {
		return err
	}
	var c client.CallRecord
	if json.Unmarshal(response, &c) != nil {
		return errAnswer
	}
	nested := func(f field) bool { return f.name == "legs" || f.name == "ladder" || f.name == "quality" }
	if err := printFields(w, slices.DeleteFunc(slices.Clone(fields), nested)); err != nil {
		return err
	}
	for _, f := range fields {
		var rows []json.RawMessage
		var columns []string
		switch f.name {
		case "legs":
			_ = json.Unmarshal(f.value, &rows) // c has read it
			columns = []string{"to", "trunk", "rang", "answered", "sip_status", "cause", "ring_seconds"}
		case "quality":
			rows = sides(f.value)
			columns = []string{"media", "packets_received", "packets_sent", "packets_lost", "jitter_ms", "round_trip_ms",
				"peer_packets_lost", "peer_jitter_ms", "strays"}
		default:
			continue
		}
		if _, err := fmt.Fprintln(w); err != nil {
			return err
		}
		if err := printTable(w, rows, columns); err != nil {
			return err
		}
	}
	if c.Ladder == nil {
		_, err := fmt.Fprintln(w, "\nNo message of this call was kept.")
		return err
	}
	_, err = io.WriteString(w, "\n"+drawLadder(*c.Ladder))
	return err
}

// sides makes one row for each member of an object of objects, with its name as media.
func sides(object json.RawMessage) (rows []json.RawMessage) {
	members, err := fieldsOf(object)
	if err != nil {
		return nil
	}
	for _, m := range members {
		if rest, ok := bytes.CutPrefix(bytes.TrimSpace(m.value), []byte("{")); ok {
			name, _ := json.Marshal(m.name) // a string always can be
			rows = append(rows, slices.Concat([]byte(`{"media":`), name, []byte(","), rest))
		}
	}
	return rows
}

// The columns of a drawn ladder: the caller's leg, Tandem, the other leg.
const (
	stampWidth = 13
	gapWidth   = 28
	firstLine  = stampWidth + 1
	tandemLine = firstLine + gapWidth
	otherLine  = tandemLine + gapWidth
)

// drawLadder writes one line for each message: when, from where to where, and on the
// right what is worth knowing of it.
func drawLadder(l client.Ladder) string {
	var b strings.Builder
	for _, leg := range l.Legs {
		fmt.Fprintf(&b, "%-3s %s, %s\n", plain(leg.Leg), plain(leg.Trunk), plain(leg.Transport))
	}
	heads := []byte(strings.Repeat(" ", otherLine+1))
	copy(heads[firstLine:], "a")
	copy(heads[tandemLine-2:], "Tandem")
	copy(heads[otherLine:], "b")
	b.WriteString(strings.TrimRight(string(heads), " ") + "\n")
	for _, m := range l.Messages {
		line := fmt.Sprintf("%10.3f s  %s  %s", m.Offset/1000, arrow(m), about(m))
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	if l.LeftOut > 0 {
		fmt.Fprintf(&b, "%10s    and %d more messages\n", "…", l.LeftOut)
	}
	return b.String()
}

// arrow draws a message between the lines of a leg and of Tandem.
func arrow(m client.LadderMessage) string {
	line := []byte(strings.Repeat(" ", otherLine+1-firstLine))
	for _, at := range []int{firstLine, tandemLine, otherLine} {
		line[at-firstLine] = '|'
	}
	left := 1
	if m.Leg != "a" {
		left += gapWidth
	}
	shaft := line[left : left+gapWidth-1]
	for i := range shaft {
		shaft[i] = '-'
	}
	if (m.Leg == "a") == (m.Direction == "in") {
		shaft[len(shaft)-1] = '>'
	} else {
		shaft[0] = '<'
	}
	text := plain(m.Message)
	copy(shaft[2:len(shaft)-2], " "+text[:min(len(text), len(shaft)-6)]+" ")
	return string(line)
}

// about is what stands beside an arrow.
func about(m client.LadderMessage) string {
	words := []string{m.Leg}
	if m.Again {
		words = append(words, "again")
	}
	if m.Number != "" {
		words = append(words, m.Number)
	}
	if m.Digit {
		words = append(words, "a digit")
	}
	if m.SDP != "" {
		words = append(words, "["+m.SDP+"]")
	}
	words = append(words, m.Fields...)
	if m.Status > 0 && m.Method != "INVITE" {
		words = append(words, "to "+m.Method)
	}
	for i := range words {
		words[i] = plain(words[i])
	}
	return strings.Join(words, "  ")
}
