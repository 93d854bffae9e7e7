"""Makes tests/golden/preprocess/: what LLaMA-Factory's loading stage (PIL) and transformers' Qwen2VLImageProcessor make of pictures.

Needs Pillow 11.3 (the one LLaMA-Factory 0.9.5 resolves to; Pillow 13 resizes in another pass order), torch 2.11, torchvision 0.26,
transformers 5.17, numpy. Run from the repository root:  python tests/golden/scripts/preprocess.py
smart_resize.json is not made here: it is a table of transformers' smart_resize over many sizes (rows of h, w, factor, limits, result).
"""
import hashlib, io, json, math, os, struct, warnings
os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np, PIL, torch, torchvision, transformers
from PIL import Image
from transformers import Qwen2VLImageProcessor

assert PIL.__version__ == "11.3.0", PIL.__version__
warnings.simplefilter("ignore")
torch.set_num_threads(1)
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
OUT = os.path.join(ROOT, "preprocess")
sha = lambda b: hashlib.sha256(b).hexdigest()
VERSIONS = {m.__name__: m.__version__ for m in (PIL, torch, torchvision, transformers, np)}


def llamafactory(im, lo, hi):
    """data/mm_plugin.py of LLaMA-Factory 0.9.5: BasePlugin._preprocess_image, then Qwen2VLPlugin's."""
    if im.width * im.height > hi:
        f = math.sqrt(hi / (im.width * im.height)); im = im.resize((int(im.width * f), int(im.height * f)))
    if im.width * im.height < lo:
        f = math.sqrt(lo / (im.width * im.height)); im = im.resize((int(im.width * f), int(im.height * f)))
    if im.mode != "RGB": im = im.convert("RGB")
    if min(im.size) < 28: im = im.resize((max(im.width, 28), max(im.height, 28)))
    if im.width / im.height > 200: im = im.resize((im.height * 180, im.height))
    if im.height / im.width > 200: im = im.resize((im.width, im.width * 180))
    return im


def processed(im, lo, hi):
    p = Qwen2VLImageProcessor(size={"shortest_edge": lo, "longest_edge": hi})
    out = p(images=[im], return_tensors="pt")
    v = out["pixel_values"].contiguous().numpy(); n = v.shape[0]
    rows = sorted({0, n // 3, n - 1})
    return {"grid": out["image_grid_thw"][0].tolist(), "sha256": sha(v.tobytes()), "sum": float(v.astype(np.float64).sum()),
            "rows": {str(r): [float(x) for x in v[r, ::97]] for r in rows}}      # every 97th value of a few rows


def pictures():
    """Real files through the whole chain."""
    cases = []
    for folder, plain in (("images", True), ("llamafactory/data/images", False)):
        for name in sorted(os.listdir(os.path.join(ROOT, folder))):
            if name.endswith((".json", ".md")): continue
            im = lambda: Image.open(os.path.join(ROOT, folder, name))
            for lo, hi in ((3136, 50176), (3136, 12845056)):
                if plain: cases.append({"file": f"{folder}/{name}", "budget": None, "limits": [lo, hi], **processed(im(), lo, hi)})
            for b in ((1024, 65536), (1024, 589824), (200000, 300000)):
                cases.append({"file": f"{folder}/{name}", "budget": b, "limits": [3136, 12845056], **processed(llamafactory(im(), *b), 3136, 12845056)})
    return cases


def noise(seed, n):
    """SHA-256 in counter mode, so that the tests can make the same bytes."""
    return b"".join(hashlib.sha256(f"{seed}:{i}".encode()).digest() for i in range((n + 31) // 32))[:n]


def resizes():
    """Random sizes, noise (the hardest content), every mode: PIL's resize and torch's."""
    r = np.random.RandomState(7); cases = []
    bands = {"1": 1, "L": 1, "LA": 2, "P": 3, "RGB": 3, "RGBA": 4, "CMYK": 4, "I;16": 1, "I": 1, "torch": 3}
    for i in range(300):
        mode = list(bands)[i % len(bands)]
        big = i % 7 == 0
        w, h = (int(x) for x in r.randint(1, 400 if big else 90, 2)); w2, h2 = (int(x) for x in r.randint(1, 300 if big else 130, 2))
        if i % 11 == 0: w2 = w
        if i % 13 == 0: h2 = h
        data = noise(i, w * h * bands[mode])
        if mode == "torch":
            x = torch.frombuffer(bytearray(data), dtype=torch.uint8).view(h, w, 3).permute(2, 0, 1)[None].contiguous()
            out = x if (h, w) == (h2, w2) else torch.nn.functional.interpolate(x, size=(h2, w2), mode="bicubic", align_corners=False, antialias=True)
            got = out[0].permute(1, 2, 0).contiguous().numpy().tobytes()
        elif mode in ("1", "P"):     # as the raster keeps them: 1 as L of 0/255, P with its colours applied; the resize is PIL's of that mode
            im = Image.frombytes("L", (w, h), bytes(255 * (b & 1) for b in data)).convert("1") if mode == "1" else None
            if mode == "P":          # indices count the distinct pixels; at most 256 colours
                idx = [b for b in data[:w * h]]; im = Image.frombytes("P", (w, h), bytes(idx)); im.putpalette(noise("palette", 768))
            got = im.resize((w2, h2)).convert("RGB").tobytes()
        elif mode in ("I;16", "I"):
            v = np.frombuffer(noise(i, w * h * 2), "<u2").reshape(h, w)
            if i % 20 < 10: v = v >> 7      # around the clip at 255
            im = Image.fromarray(v.copy()) if mode == "I;16" else Image.fromarray(v.astype(np.int32))
            assert im.mode == mode
            got = im.resize((w2, h2)).convert("RGB").tobytes()
        else:
            got = Image.frombytes(mode, (w, h), data).resize((w2, h2)).convert("RGB").tobytes()
        cases.append({"seed": i, "mode": mode, "from": [w, h], "to": [w2, h2], "shift": 7 if mode in ("I;16", "I") and i % 20 < 10 else 0, "sha256": sha(got)})
    return cases


def photo(w, h):
    y, x = np.mgrid[0:h, 0:w].astype(np.float64)
    f = lambda a, b, c: 127 + 90 * np.sin(x / a + c) * np.cos(y / b - c) + 30 * ((x + 2 * y) % 17 < 5)
    return Image.fromarray(np.clip(np.stack([f(5, 9, 0), f(11, 6, 1), f(7, 13, 2)], -1), 0, 255).astype(np.uint8))


def save_formats():
    """One small file per format and mode. Returns nothing; writes formats/."""
    d = os.path.join(OUT, "formats"); os.makedirs(d, exist_ok=True)
    for f in os.listdir(d): os.remove(os.path.join(d, f))
    put = lambda name, im, **k: im.save(os.path.join(d, name), **k)
    raw = lambda name, b: open(os.path.join(d, name), "wb").write(b)
    p = photo(45, 37); alpha = Image.fromarray((np.mgrid[0:37, 0:45][1] * 255 // 44).astype(np.uint8)); rgba = p.copy(); rgba.putalpha(alpha)
    la = Image.merge("LA", (p.convert("L"), alpha)); pal = p.quantize(40); grey16 = Image.fromarray((np.asarray(p.convert("L")).astype(np.uint16) * 5))
    tr = pal.copy(); tr.info["transparency"] = 3
    # PNG
    for name, im in (("1", p.convert("1")), ("L", p.convert("L")), ("LA", la), ("P", pal), ("RGB", p), ("RGBA", rgba), ("I16", grey16)): put(f"png_{name}.png", im)
    put("png_P_trns.png", pal, transparency=bytes(range(0, 240, 6))); put("png_P4.png", p.quantize(11), bits=4); put("png_P1.png", p.quantize(2), bits=1)
    put("png_L_trns.png", p.convert("L"), transparency=90); put("png_RGB_trns.png", p, transparency=p.getpixel((3, 3)))
    import zlib
    def png(depth, ctype, rows, w, h, extra=b"", interlace=0):
        ch = lambda t, b: struct.pack(">I", len(b)) + t + b + struct.pack(">I", zlib.crc32(t + b))
        return b"\x89PNG\r\n\x1a\n" + ch(b"IHDR", struct.pack(">IIBBBBB", w, h, depth, ctype, 0, 0, interlace)) + extra + ch(b"IDAT", zlib.compress(b"".join(b"\0" + r for r in rows))) + ch(b"IEND", b"")
    n = noise("png", 100000)
    raw("png_L2.png", png(2, 0, [n[i * 10:i * 10 + 10] for i in range(37)], 40, 37)); raw("png_L4.png", png(4, 0, [n[i * 20:i * 20 + 20] for i in range(37)], 40, 37))
    raw("png_RGB16.png", png(16, 2, [n[i * 120:i * 120 + 120] for i in range(37)], 20, 37)); raw("png_RGBA16.png", png(16, 6, [n[i * 160:i * 160 + 160] for i in range(37)], 20, 37))
    raw("png_LA16.png", png(16, 4, [n[i * 80:i * 80 + 80] for i in range(37)], 20, 37))
    plte = n[:30]; raw("png_P_short_palette.png", png(8, 3, [bytes(b % 10 for b in n[i * 40:i * 40 + 40]) for i in range(37)], 40, 37, struct.pack(">I", 30) + b"PLTE" + plte + struct.pack(">I", zlib.crc32(b"PLTE" + plte))))
    # JPEG: samplings, progressive, optimised, grey, CMYK, restart markers, EXIF
    for i, s in enumerate(("444", "422", "420")):
        for prog in (False, True): put(f"jpeg_{s}{'_prog' if prog else ''}.jpg", p, quality=80, subsampling=i, progressive=prog)
    for q in (5, 30, 60, 100): put(f"jpeg_q{q}.jpg", photo(51, 43), quality=q)
    put("jpeg_L.jpg", p.convert("L")); put("jpeg_CMYK.jpg", p.convert("CMYK"), quality=85); put("jpeg_restart.jpg", p, restart_marker_blocks=2)
    ex = Image.Exif(); ex[0x0112] = 6; put("jpeg_exif6.jpg", p, exif=ex); put("jpeg_RGB.jpg", p, keep_rgb=True)
    put("jpeg_odd_1x1.jpg", photo(1, 1)); put("jpeg_odd_17x1.jpg", photo(17, 1)); put("jpeg_odd_3x33.jpg", photo(3, 33))
    # GIF
    put("gif_P.gif", pal); put("gif_L.gif", p.convert("L")); put("gif_trns.gif", pal, transparency=3); put("gif_anim.gif", pal, save_all=True, append_images=[pal.rotate(90)])
    put("gif_interlace.gif", pal, interlace=1)
    def gif(screen, frame, at, gpal, lpal, data, trns=None, interlace=0):
        im = Image.frombytes("P", frame, data); im.putpalette(lpal or gpal); b = io.BytesIO(); im.save(b, "GIF", optimize=False, interlace=interlace); b = b.getvalue()
        i = b.index(b",", 13 + 768); body = b[i + 10:]
        if b[i + 9] & 128: body = body[3 << ((b[i + 9] & 7) + 1):]
        out = b"GIF89a" + struct.pack("<HHBBB", *screen, 0xF7 if gpal else 0x70, 0, 0) + (gpal or b"")
        if trns is not None: out += b"!\xf9\x04" + struct.pack("<BHB", 1, 0, trns) + b"\0"
        return out + b"," + struct.pack("<HHHHB", *at, *frame, (0x87 if lpal else 0) | (b[i + 9] & 64)) + (lpal or b"") + body
    ramp = bytes(v for i in range(256) for v in (i, i, i)); col = noise("gifpal", 768); d8 = n[:15 * 12]
    raw("gif_offset.gif", gif((30, 25), (15, 12), (6, 5), col, None, d8)); raw("gif_offset_trns.gif", gif((30, 25), (15, 12), (6, 5), col, None, d8, 77))
    raw("gif_beyond.gif", gif((10, 10), (15, 12), (6, 5), col, None, d8)); raw("gif_local.gif", gif((15, 12), (15, 12), (0, 0), col, noise("local", 768), d8))
    raw("gif_global_ramp.gif", gif((15, 12), (15, 12), (0, 0), ramp, None, d8))
    # BMP
    for name, im in (("1", p.convert("1")), ("L", p.convert("L")), ("P", pal), ("RGB", p), ("RGBA", rgba)): put(f"bmp_{name}.bmp", im)
    def bmp(bits, rows, w, h, pal=b"", comp=0, masks=b"", hs=40):
        body = b"".join(rows); off = 14 + hs + len(masks) + len(pal)
        return b"BM" + struct.pack("<IHHI", off + len(body), 0, 0, off) + struct.pack("<IiiHHIIiiII", hs, w, h, 1, bits, comp, len(body), 0, 0, len(pal) // 4, 0) + masks + pal + body
    raw("bmp_4bit.bmp", bmp(4, [n[i * 20:i * 20 + 20] for i in range(9)], 40, 9, b"".join(col[i * 3:i * 3 + 3] + b"\0" for i in range(16))))
    raw("bmp_1bit_P.bmp", bmp(1, [n[i * 8:i * 8 + 8] for i in range(9)], 40, 9, b"\x10\x20\x30\0\xf0\xa0\x30\0"))
    raw("bmp_32.bmp", bmp(32, [n[i * 160:i * 160 + 160] for i in range(9)], 40, 9)); raw("bmp_topdown.bmp", bmp(24, [n[i * 120:i * 120 + 120] for i in range(9)], 40, -9))
    # TIFF
    for name, im in (("1", p.convert("1")), ("L", p.convert("L")), ("LA", la), ("RGB", p), ("RGBA", rgba), ("CMYK", p.convert("CMYK")), ("I16", grey16)): put(f"tiff_{name}.tif", im)
    put("tiff_lzw.tif", p, compression="tiff_lzw"); put("tiff_deflate.tif", rgba, compression="tiff_adobe_deflate"); put("tiff_packbits.tif", p.convert("L"), compression="packbits")
    put("tiff_g4.tif", p.convert("1"), compression="group4")
    # WebP
    put("webp_lossless.webp", p, lossless=True); put("webp_lossless_rgba.webp", rgba, lossless=True, exact=True); put("webp_lossy.webp", photo(60, 50), quality=70)
    put("webp_lossy_odd.webp", photo(33, 21), quality=40); put("webp_lossy_rgba.webp", rgba, quality=80); put("webp_anim.webp", p, save_all=True, append_images=[p.rotate(90)], lossless=True)
    # PNM
    for name, im in (("1.pbm", p.convert("1")), ("L.pgm", p.convert("L")), ("RGB.ppm", p), ("I.pgm", grey16)): put(f"pnm_{name}", im, format="PPM")
    raw("pnm_plain.ppm", b"P3\n# a comment\n4 3\n255\n" + b" ".join(b"%d" % v for v in n[:36]) + b"\n"); raw("pnm_plain.pbm", b"P1\n5 3\n1 0 1 1 0\n01101\n00011\n")


def formats():
    cases = []
    for name in sorted(os.listdir(os.path.join(OUT, "formats"))):
        path = os.path.join(OUT, "formats", name); im = Image.open(path); mode = im.mode
        row = {"file": name, "mode": mode, "size": list(im.size), "rgb": sha(im.convert("RGB").tobytes()), "budgets": []}
        for lo, hi in ((1, 400), (3000, 4000)):
            out = llamafactory(Image.open(path), lo, hi)
            row["budgets"].append({"budget": [lo, hi], "size": list(out.size), "rgb": sha(out.tobytes())})
        cases.append(row)
    return cases


if __name__ == "__main__":
    save_formats()
    for name, make in (("pictures", pictures), ("resizes", resizes), ("formats", formats)):
        cases = make()
        with open(os.path.join(OUT, name + ".json"), "w") as f:
            f.write(json.dumps({"versions": VERSIONS})[:-1] + ', "cases": [\n' + ",\n".join(json.dumps(c) for c in cases) + "\n]}\n")
        print(name, len(cases))
