from PIL import Image

from server.ingest.fingerprint import fingerprint


def test_same_pixels_same_name() -> None:
    assert fingerprint(Image.new("RGB", (4, 4), "red")) == fingerprint(
        Image.new("RGB", (4, 4), (255, 0, 0))
    )


def test_one_pixel_changes_it() -> None:
    image = Image.new("RGB", (4, 4), "red")
    before = fingerprint(image)
    image.putpixel((3, 3), (254, 0, 0))
    assert fingerprint(image) != before


def test_shape_and_mode_count_also_where_the_bytes_are_the_same() -> None:
    images = [
        Image.new("RGB", (2, 8)),
        Image.new("RGB", (4, 4)),
        Image.new("L", (4, 12)),
    ]
    assert len({image.tobytes() for image in images}) == 1
    assert len({fingerprint(image) for image in images}) == 3
