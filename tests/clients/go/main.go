// Go's net/http: asks for gzip by itself, reads one response and says each event as it comes, and
// `whole` after a clean end. Argument: the URL.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

type event struct {
	Meta struct {
		Topic     string
		Partition int
		Offset    int64
	}
}

func main() {
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	response, err := http.Get(os.Args[1])
	if err != nil || response.StatusCode != 200 || !response.Uncompressed {
		fmt.Fprintln(os.Stderr, "no compressed stream:", err, response)
		os.Exit(1)
	}
	lines := bufio.NewReader(response.Body)
	for {
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			fmt.Println("whole")
			return
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if data, is := strings.CutPrefix(line, "data: "); is {
			var event event
			if err := json.Unmarshal([]byte(data), &event); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			fmt.Println(event.Meta.Topic, event.Meta.Partition, event.Meta.Offset)
		}
	}
}
