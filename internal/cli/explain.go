package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"tandem/internal/client"
)

// explainCommand is "tandem explain".
func (p *program) explainCommand() *cobra.Command {
	g := p.api("explain", "")
	var q client.RouteQuery
	cmd := g.add(verb{use: "explain", args: exactly(), draw: drawExplanation,
		short:   "Explain what would become of a call now, without making it (as the tenant)",
		example: "  tandem explain --virtual-number +914000000001 --caller +919900000001",
		run: func(ctx context.Context, s *session, _ []string) error {
			if q.VirtualNumber == "" {
				return misusef(s.cmd, "--virtual-number is missing")
			}
			tenant, err := s.asTenant()
			if err == nil {
				_, err = s.ExplainRoute(ctx, tenant, q)
			}
			return err
		}})
	g.alone(cmd)
	cmd.Flags().StringVar(&q.VirtualNumber, "virtual-number", "", "the number that is called")
	cmd.Flags().StringVar(&q.Caller, "caller", "", "who calls; without it: somebody who withholds his number")
	cmd.Flags().StringVar(&q.PIN, "pin", "", "PIN that he enters if he is asked for one; a wrong one is not counted")
	return cmd
}

// drawExplanation writes the explanation's words and fields, and the ways out.
func drawExplanation(w io.Writer, response json.RawMessage) error {
	fields, err := fieldsOf(response)
	if err != nil {
		return err
	}
	var e client.RouteExplanation
	if json.Unmarshal(response, &e) != nil {
		return errAnswer
	}
	var rows []json.RawMessage
	var rest []field
	for _, f := range fields {
		switch f.name {
		case "explanation":
		case "trunks":
			_ = json.Unmarshal(f.value, &rows) // e has read it
		default:
			rest = append(rest, f)
		}
	}
	if _, err := fmt.Fprintf(w, "%s\n\n", plain(e.Explanation)); err != nil {
		return err
	}
	if err := printFields(w, rest); err != nil || len(rows) == 0 {
		return err
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	return printTable(w, rows, []string{"trunk", "state", "tried", "priority", "weight"})
}
