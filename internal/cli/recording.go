package cli

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"tandem/internal/client"
)

// recordingCommand saves the sound of a call. Unlike the other verbs its answer is
// no JSON, and too large to be kept.
func (g *apiGroup) recordingCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{Use: "recording CALL_SID", Short: "Save the recording of a call as a WAV file (as the tenant)", Args: exactly("CALL_SID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := g.session(cmd)
			if err != nil {
				return err
			}
			tenant, err := s.asTenant()
			if err != nil {
				return err
			}
			c, err := client.New(client.Options{BaseURL: s.to.Server, AccountSID: s.to.AccountSID, Token: s.to.Token, HTTP: &http.Client{}})
			if err != nil {
				return misuse(cmd, err)
			}
			save := func(w io.Writer) error {
				_, err := c.SaveRecording(cmd.Context(), tenant, args[0], w)
				return explained(err)
			}
			switch file {
			case "-":
				return save(s.out)
			case "":
				file = args[0] + ".wav"
				if filepath.Base(file) != file {
					return misusef(cmd, "%q is not the id of a call", args[0])
				}
			}
			if err := whole(file, save); err != nil {
				return err
			}
			_, err = fmt.Fprintln(s.out, plain(file))
			return err
		}}
	cmd.Flags().StringVar(&file, "file", "", "where to write it (default CALL_SID.wav); - is stdout")
	return cmd
}

// whole writes a file, or leaves none and what was there before.
func whole(path string, write func(io.Writer) error) error {
	next, err := os.CreateTemp(filepath.Dir(path), ".recording-*") // made with mode 0600: a call is nobody else's
	if err != nil {
		return fmt.Errorf("save the recording: %w", err)
	}
	err = write(next)
	if closing := next.Close(); err == nil && closing != nil {
		err = fmt.Errorf("save the recording: %w", closing)
	}
	if err == nil {
		if err = os.Rename(next.Name(), path); err != nil {
			err = fmt.Errorf("save the recording: %w", err)
		}
	}
	if err != nil {
		return errors.Join(err, os.Remove(next.Name()))
	}
	return nil
}
