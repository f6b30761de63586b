package fat32

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"time"
)

var testTime = time.Date(2025, 3, 9, 23, 59, 58, 0, time.UTC)

// content is a file's data, made from its path so that no two files are alike.
func content(path string, size int) []byte {
	seed := [32]byte{}
	copy(seed[:], path[max(0, len(path)-32):])
	b := make([]byte, size)
	rand.NewChaCha8(seed).Read(b)
	return b
}

func file(path string, size int) File {
	return File{Path: path, Size: int64(size), ModTime: testTime, Data: bytes.NewReader(content(path, size))}
}

// bootFiles is a tree like that of a converted Windows 10: 132 files in 54
// directories. scale 1 makes it 27 MB, as the real ones are.
func bootFiles(scale float64) []File {
	var files []File
	add := func(path string, size int) { files = append(files, file(path, int(float64(size)*scale))) }
	add("EFI/Boot/bootx64.efi", 1_558_336)
	const boot = "EFI/Microsoft/Boot/"
	for name, size := range map[string]int{
		"bootmgfw.efi": 1_558_336, "bootmgr.efi": 1_541_952, "memtest.efi": 1_316_184, "SecureBootRecovery.efi": 1_402_000,
		"BCD": 32768, "boot.stl": 9796, "BOOTSTAT.DAT": 65536, "winsipolicy.p7b": 10301, "kd_02_10df.dll": 410_000, "kdnet_uart16550.dll": 70_000,
	} {
		add(boot+name, size)
	}
	for i, lang := range strings.Fields("bg-BG cs-CZ da-DK de-DE el-GR en-GB en-US es-ES es-MX et-EE fi-FI fr-CA fr-FR hr-HR hu-HU it-IT ja-JP ko-KR lt-LT lv-LV nb-NO nl-NL pl-PL pt-BR pt-PT qps-ploc qps-plocm ro-RO ru-RU sk-SK sl-SI sr-Latn-RS sv-SE tr-TR uk-UA zh-CN zh-TW") {
		add(boot+lang+"/bootmgfw.efi.mui", 77_000+i)
		add(boot+lang+"/bootmgr.efi.mui", 77_000+i)
		if i%2 == 0 {
			add(boot+lang+"/memtest.efi.mui", 45_000+i)
		}
	}
	for _, font := range strings.Fields("chs_boot cht_boot jpn_boot kor_boot malgun_boot malgunn_boot meiryo_boot meiryon_boot msjh_boot msjhn_boot msyh_boot msyhn_boot segmono_boot segoe_slboot segoen_slboot wgl4_boot") {
		add(boot+"Fonts/"+font+".ttf", 820_000)
	}
	for i := range 11 {
		add(fmt.Sprintf("%sResources/%02d-XX/bootres.dll.mui", boot, i), 12_000)
	}
	add(boot+"Resources/bootres.dll", 95_000)
	return files
}

// trickyFiles are names and sizes at the edges of the format.
func trickyFiles(clusterSize int) []File {
	files := []File{
		file("empty", 0),
		file("ONE.BYT", 1),
		file("cluster less one", clusterSize-1),
		file("cluster", clusterSize),
		file("cluster plus one", clusterSize+1),
		file("ten clusters.bin", 10*clusterSize),
		file("UPPER.TXT", 10),
		file("lower.txt", 10),
		file("Mixed.Txt", 10),
		file("NOEXT", 10),
		file("trailing.d", 10),
		file(".leading dot", 10),
		file("a.b.c", 10),
		file("..dots.tar.gz", 10),
		file("plus+comma,semi;equal=[brackets]", 10),
		file("all $%'-_@~`!(){}^#& of them.x y", 10),
		file("thirteen.char", 10),
		file("thirteen.chars", 10),
		file("Grüße aus Zürich.txt", 10),
		file("Ελληνικά/日本語/файл с пробелами.док", 10),
		file(strings.Repeat("x", 255), 10),
		file(strings.Repeat("漢", 81)+".txt", 10), // 247 bytes in UTF-8: file systems of Linux take 255
		file(strings.Repeat("deep/", 60)+"end.txt", 10),
		file("EFI/Boot/bootx64.efi", 5000),
		file("efi/BOOT/PVSBOOTX64.EFI", 5000), // another spelling of the directory
		// Names that others get as their alias.
		file("collide/LONGNA~1.TXT", 10),
		file("collide/longna~12.txt", 10),
		file("collide/longn~20.txt", 10),
		file("collide/~1", 10),
		file("collide/日本", 10),
		file("collide/中国", 10),
	}
	for i := range 330 {
		files = append(files, file(fmt.Sprintf("collide/long name number %d.txt", i), 3))
	}
	return files
}

// sparse is a device in memory of any size.
type sparse struct {
	pages map[int64]*[4096]byte
	fill  byte // of what was never written
}

func newSparse(fill byte) *sparse { return &sparse{map[int64]*[4096]byte{}, fill} }

func (s *sparse) WriteAt(p []byte, off int64) (int, error) {
	for n := 0; n < len(p); {
		at := off + int64(n)
		page := s.pages[at/4096]
		if page == nil {
			page = new([4096]byte)
			for i := range page {
				page[i] = s.fill
			}
			s.pages[at/4096] = page
		}
		n += copy(page[at%4096:], p[n:])
	}
	return len(p), nil
}

func (s *sparse) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, io.EOF
	}
	for n := 0; n < len(p); {
		at := off + int64(n)
		k := min(int64(len(p)-n), 4096-at%4096)
		if page := s.pages[at/4096]; page != nil {
			copy(p[n:n+int(k)], page[at%4096:])
		} else {
			for i := range k {
				p[n+int(i)] = s.fill
			}
		}
		n += int(k)
	}
	return len(p), nil
}
